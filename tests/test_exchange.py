"""Checkpoints in and out, as a user does it: Hugging Face models made with `transformers`, runs, and back."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import atomas_jax
from atomas_jax import cli
from atomas_jax.interchange.weight_files import open_tensors

pytestmark = pytest.mark.torch
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", r"C/C=C\C", "c1ccc2[nH]ccc2c1", "O"]
TEXTS = ["The molecule is a benzoic acid.", "It has a role as a drug, e.g. {a}."]


def atomas(capsys, *arguments) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        cli.main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def hugging_face(
    folder: Path, spiece: Path | None, kind: str = "v1.1", rows: int = 32128, dtype: str = "float32", **save
):
    """A random model saved by `transformers` as a user has it; returns the model."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    tied = kind == "v1.0"
    sizes = dict(vocab_size=rows, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0)
    settings = dict(feed_forward_proj="relu" if tied else "gated-gelu", tie_word_embeddings=tied)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, **settings)).eval()
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(rows, 16) * 0.3)
    model.to(getattr(torch, dtype)).save_pretrained(folder, **save)
    if spiece:
        (folder / "spiece.model").write_bytes(spiece.read_bytes())
    return model


@pytest.fixture
def spiece(shared):
    return shared / "data" / "vocab" / "t5_spiece.model"


@pytest.mark.parametrize(
    ("kind", "rows", "dtype", "save"),
    [
        ("v1.0", 32128, "float32", {}),
        ("v1.1", 32128, "float32", {"max_shard_size": "1MB"}),
        ("v1.1", 32100, "float32", {}),
        ("v1.0", 32128, "bfloat16", {}),
    ],
)
def test_import_export_import_keeps_every_bit(capsys, tmp_path, spiece, kind, rows, dtype, save):
    model = hugging_face(tmp_path / "theirs", spiece, kind, rows, dtype, **save)
    assert atomas(capsys, "import", tmp_path / "theirs", tmp_path / "run")[0] == 0
    assert atomas(capsys, "export", tmp_path / "run", tmp_path / "ours")[0] == 0
    assert atomas(capsys, "import", tmp_path / "ours", tmp_path / "again")[0] == 0
    assert atomas(capsys, "export", tmp_path / "again", tmp_path / "ours_again")[0] == 0
    first, second = (
        load_file(tmp_path / "ours" / "model.safetensors"),
        load_file(tmp_path / "ours_again/model.safetensors"),
    )
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert str(array.dtype) == dtype
        np.testing.assert_array_equal(array.view(np.uint8), second[name].view(np.uint8))
    theirs = open_tensors(tmp_path / "theirs")
    for name, tensor in theirs.items():  # but for the rows that no piece of T5 uses, theirs is ours
        kept = np.asarray(tensor)
        if kept.shape[0] == rows:
            np.testing.assert_array_equal(kept[:32100].view(np.uint8), first[name][:32100].view(np.uint8))
        else:
            np.testing.assert_array_equal(kept.view(np.uint8), first[name].view(np.uint8))
    assert model.num_parameters() > 0
    heads = [load_file(tmp_path / folder / "alignment.safetensors") for folder in ("ours", "ours_again")]
    assert all(np.array_equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_an_imported_model_says_what_transformers_says(capsys, tmp_path, spiece):
    torch = pytest.importorskip("torch")
    model = hugging_face(tmp_path / "theirs", spiece)
    assert atomas(capsys, "import", tmp_path / "theirs", tmp_path / "run")[0] == 0
    ours = atomas_jax.load(tmp_path / "run")
    tokens = [ours.tokenizer.encode_smiles(s) for s in SMILES if "\\" not in s]
    width = max(map(len, tokens))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in tokens])
    free = [*list(range(32000, 32128)), 0, 2]
    with torch.no_grad():
        written = model.generate(
            input_ids=ids, attention_mask=(ids > 0).long(), num_beams=3, max_new_tokens=10, suppress_tokens=free
        )
    theirs = [ours.tokenizer.decode_text(row[1:].tolist()) for row in written]
    ours_written = ours.caption([s for s in SMILES if "\\" not in s], method="beam", beams=3, max_length=10)
    assert [re.sub("[\\\\{}~^<`]", "", text) for text in ours_written] == theirs
    record = json.loads((tmp_path / "run" / "import.json").read_text())
    assert record["rows"]["32100 \\"] == "unknown token"
    # the unknown token of their vocabulary and our backslash are the same to the model
    table = np.asarray(ours.params["transformer"]["embedding"])
    np.testing.assert_array_equal(table[32100], table[2])
    np.testing.assert_array_equal(table[ours.tokenizer.smiles_start_id], table[0])


def test_an_exported_run_gives_the_same_logits_beams_and_vectors_in_transformers(capsys, tmp_path, small_run):
    """The model card's own code, run as it stands, beside our model."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    code, _, err = atomas(capsys, "export", small_run, tmp_path / "out", "--stablehlo", "32")
    assert code == 0, err
    ours = atomas_jax.load(small_run)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "some of what it writes is no molecule" in card
    use, vectors, program = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict = {}
    exec(use.replace('folder = "."', f"folder = {str(tmp_path / 'out')!r}") + vectors, names)

    model, smiles_tokenizer, tokenizer = names["model"], names["smiles_tokenizer"], names["tokenizer"]
    batch = smiles_tokenizer(SMILES, padding=True, return_tensors="pt")
    rows = [[i for i in row if i] for row in batch.input_ids.tolist()]
    assert rows == [ours.tokenizer.encode_smiles(s) for s in SMILES]
    texts = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert [[i for i in row if i] for row in texts.input_ids.tolist()] == [ours.tokenizer.encode_text(t) for t in TEXTS]

    for ids, strings in ((batch.input_ids, SMILES), (texts.input_ids, TEXTS)):
        assert tokenizer.batch_decode(ids, skip_special_tokens=True) == strings

    target = torch.tensor([ours.tokenizer.encode_text(TEXTS[0])] * len(SMILES))
    start = torch.full((len(SMILES), 1), ours.tokenizer.text_start_id)
    with torch.no_grad():
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask,
            decoder_input_ids=torch.cat([start, target[:, :-1]], 1),
        ).logits.numpy()  # fmt: skip
    from atomas_jax.model.t5 import EncoderDecoder, shift_right

    network, ids = EncoderDecoder(ours.config.transformer), batch.input_ids.numpy()
    expected = network.apply(
        {"params": ours.params["transformer"]}, ids, ids != 0, shift_right(target.numpy(), ours.tokenizer.text_start_id)
    )
    np.testing.assert_allclose(logits, expected, atol=1e-4)

    for settings, method, strings, back in (
        ("generation_config.json", "caption", batch, ours.tokenizer.decode_text),
        ("generation_molecules.json", "generate", texts, ours.tokenizer.decode_smiles),
    ):
        chosen = transformers.GenerationConfig.from_pretrained(tmp_path / "out", settings)
        chosen.num_beams, chosen.max_new_tokens = 3, 12
        with torch.no_grad():
            written = model.generate(
                input_ids=strings.input_ids, attention_mask=strings.attention_mask, generation_config=chosen
            )
        inputs = SMILES if method == "caption" else TEXTS
        options = {} if method == "caption" else {"valid": False, "constrained": False}
        got = getattr(ours, method)(inputs, method="beam", beams=3, max_length=12, early_stopping=False, **options)
        assert got == [back(row[1:].tolist()) for row in written]
        theirs = tokenizer.batch_decode(written, skip_special_tokens=True)
        assert [string for string in theirs if "\ufffd" not in string] == [s for s in got if "\ufffd" not in s]

    np.testing.assert_allclose(names["encode"](batch, "smiles"), ours.embed_molecules(SMILES), atol=1e-5)
    np.testing.assert_allclose(names["encode"](texts, "text"), ours.embed_text(TEXTS), atol=1e-5)

    # the embedding program, in a process that has jax and no package of ours
    ids = [ours.tokenizer.encode_smiles(SMILES[0])]
    check = f"import os, sys; os.chdir({str(tmp_path / 'out')!r})\n{program}\n"
    check += f"tokens[0, :{len(ids[0])}] = {ids[0]}\nvectors = program.call(weights, tokens)\n"
    check += "assert not {'flax', 'atomas_jax', 'torch'} & set(sys.modules)\nprint(np.asarray(vectors)[0].tolist())"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), ours.embed_molecules(SMILES[:1])[0], atol=1e-5)


def test_what_cannot_be_imported_is_one_line(capsys, tmp_path, spiece):
    torch = pytest.importorskip("torch")
    hugging_face(tmp_path / "good", spiece)

    def refused(change, told: str):
        folder = tmp_path / "bad"
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        subprocess.run(["cp", "-r", str(tmp_path / "good"), str(folder)], check=True)
        change(folder)
        code, _, err = atomas(capsys, "import", folder, tmp_path / "run")
        lines = [line for line in err.splitlines() if not line.startswith("import: ")]
        assert (code, len(lines)) == (2, 1), err
        assert told in lines[0]
        assert not (tmp_path / "run").exists()
        assert not list(tmp_path.glob(".run-*"))

    def edit(**changes):
        def change(folder):
            tensors = load_file(folder / "model.safetensors")
            for name, value in changes.items():
                name = name.replace("__", ".")
                tensors = (
                    {**tensors, name: value} if value is not None else {k: v for k, v in tensors.items() if k != name}
                )
            save_file(tensors, folder / "model.safetensors")

        return change

    def pickled(folder):
        class Code:
            def __reduce__(self):
                return print, ("run!",)

        (folder / "model.safetensors").unlink()
        torch.save({"shared.weight": Code()}, folder / "pytorch_model.bin")

    def sharded(folder):
        (folder / "model.safetensors").unlink()
        index = {"weight_map": {"shared.weight": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    def settings(**changes):
        def change(folder):
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))

        return change

    refused(edit(lm_head__weight=None), "missing lm_head.weight")
    refused(edit(extra=np.zeros(3)), "unknown extra")
    refused(
        edit(encoder__final_layer_norm__weight=np.zeros(3)), "encoder.final_layer_norm.weight has shape (3,), not (16,)"
    )
    refused(pickled, "holds pickled code")
    refused(sharded, "lacks model-00001-of-00002.safetensors")
    refused(settings(model_type="bert"), "'bert'")
    refused(settings(vocab_size=99), "vocab_size 99")
    refused(lambda folder: (folder / "spiece.model").unlink(), "has no spiece.model")
    refused(lambda folder: (folder / "config.json").unlink(), "has no config.json")
    refused(lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "cannot be read as safetensors")
    refused(lambda folder: (folder / "model.safetensors").rename(folder / "tf_model.h5"), "tf_model.h5 cannot be read")
    code, _, err = atomas(capsys, "import", tmp_path / "nowhere", tmp_path / "run")
    assert code == 2
    assert err.startswith("atomas import: no folder")


@pytest.mark.parametrize("given", [False, True])
def test_tokens_of_a_checkpoint_keep_their_ids(capsys, tmp_path, spiece, given):
    """As BioT5's SELFIES, which stand where the missing characters would; `given`: its pieces are by --tokenizer."""
    hugging_face(tmp_path / "theirs", None if given else spiece, rows=32102)
    pieces = ["--tokenizer", spiece] if given else []
    (tmp_path / "theirs" / "added_tokens.json").write_text(
        json.dumps({"[C]": 32100, "[=O]": 32101, "<extra_id_0>": 32099})
    )
    assert atomas(capsys, "import", tmp_path / "theirs", tmp_path / "run", *pieces)[0] == 0
    ours = atomas_jax.load(tmp_path / "run")
    assert ours.tokenizer.encode_text("[C][=O]")[-3:] == [32100, 32101, 1]
    assert ours.tokenizer.decode_text([32100, 32101, 1]) == "[C][=O]"
    before = np.asarray(open_tensors(tmp_path / "theirs")["shared.weight"])
    after = np.asarray(ours.params["transformer"]["embedding"])
    np.testing.assert_array_equal(after[:32102], before)
    np.testing.assert_array_equal(after[ours.tokenizer.encode_smiles("\\")[-2]], before[2])

    (tmp_path / "theirs" / "added_tokens.json").write_text(json.dumps({"[C]": 32101}))
    code, _, err = atomas(capsys, "import", tmp_path / "theirs", tmp_path / "other", *pieces)
    assert code == 2
    assert "with gaps" in err


def test_pytorch_files_are_read_without_running_code(capsys, tmp_path, spiece):
    torch = pytest.importorskip("torch")
    model = hugging_face(tmp_path / "theirs", spiece, dtype="bfloat16")
    (tmp_path / "theirs" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "theirs" / "pytorch_model.bin")
    assert atomas(capsys, "import", tmp_path / "theirs", tmp_path / "run")[0] == 0
    ours = atomas_jax.load(tmp_path / "run")
    theirs = model.shared.weight.detach().float().numpy()
    np.testing.assert_array_equal(np.asarray(ours.params["transformer"]["embedding"])[:32100], theirs[:32100])


def test_t5x_checkpoints(capsys, tmp_path, spiece):
    """Written as T5X lays them out: large tensors as zarr, small ones inside the msgpack file."""
    import msgpack
    import tensorstore

    hugging_face(tmp_path / "theirs", spiece)
    state = {name: np.asarray(tensor) for name, tensor in open_tensors(tmp_path / "theirs").items()}
    folder = tmp_path / "checkpoint_1000000"
    folder.mkdir()
    parts = {"q": "query", "k": "key", "v": "value", "o": "out"}
    flat = {
        "token_embedder.embedding": state["shared.weight"],
        "decoder.logits_dense.kernel": state["lm_head.weight"].T,
    }
    for stack in ("encoder", "decoder"):
        bias = state[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        flat[f"{stack}.relpos_bias.rel_embedding"] = bias.T
        flat[f"{stack}.{stack}_norm.scale"] = state[f"{stack}.final_layer_norm.weight"]
        for i in range(2):
            block, at = f"{stack}.block.{i}.layer", f"{stack}.layers_{i}"
            own = "attention" if stack == "encoder" else "self_attention"
            last = 1 if stack == "encoder" else 2
            flat[f"{at}.pre_{own}_layer_norm.scale"] = state[f"{block}.0.layer_norm.weight"]
            flat[f"{at}.pre_mlp_layer_norm.scale"] = state[f"{block}.{last}.layer_norm.weight"]
            for theirs, name in parts.items():
                flat[f"{at}.{own}.{name}.kernel"] = state[f"{block}.0.SelfAttention.{theirs}.weight"].T
            if stack == "decoder":
                flat[f"{at}.pre_cross_attention_layer_norm.scale"] = state[f"{block}.1.layer_norm.weight"]
                for theirs, name in parts.items():
                    key = f"{at}.encoder_decoder_attention.{name}.kernel"
                    flat[key] = state[f"{block}.1.EncDecAttention.{theirs}.weight"].T
            for kernel in ("wi_0", "wi_1", "wo"):
                flat[f"{at}.mlp.{kernel}.kernel"] = state[f"{block}.{last}.DenseReluDense.{kernel}.weight"].T
    tree: dict = {"version": 3, "optimizer": {"state": {"step": 1_000_000}, "target": {}}}
    for name, array in flat.items():
        node = tree["optimizer"]["target"]
        *parents, leaf = name.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        if array.ndim == 1:
            body = msgpack.packb((array.shape, array.dtype.name, array.tobytes()))
            node[leaf] = msgpack.ExtType(1, body)
            continue
        node[leaf] = f"PLACEHOLDER://target.{name}"
        spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / f"target.{name}")}}
        store = tensorstore.open(
            spec | {"metadata": {"shape": array.shape, "dtype": "<f4", "chunks": array.shape}}, create=True
        ).result()
        store.write(array).result()
    (folder / "checkpoint").write_bytes(msgpack.packb(tree))
    assert atomas(capsys, "import", folder, tmp_path / "run", "--tokenizer", spiece)[0] == 0
    assert atomas(capsys, "import", tmp_path / "theirs", tmp_path / "same")[0] == 0
    one, other = atomas_jax.load(tmp_path / "run"), atomas_jax.load(tmp_path / "same")
    assert one.config == other.config
    assert one.caption(SMILES, max_length=8) == other.caption(SMILES, max_length=8)

    subprocess.run(["rm", "-r", str(folder / "target.token_embedder.embedding")], check=True)
    code, _, err = atomas(capsys, "import", folder, tmp_path / "third", "--tokenizer", spiece)
    assert code == 2
    assert "lacks the arrays of token_embedder/embedding" in err
