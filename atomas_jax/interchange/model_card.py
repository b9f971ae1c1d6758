"""The README.md of an exported folder: what the model is, what it was trained on, how it measures, how to use it."""

from pathlib import Path

from atomas_jax.errors import UserError
from atomas_jax.evaluation import results
from atomas_jax.run_folder import RunFolder, read_json
from atomas_jax.trained import TrainedModel


def model_card(run: RunFolder, model: TrainedModel, name: str, dtype: str, stablehlo: tuple[int, ...]) -> str:
    """Markdown with the YAML head that the Hugging Face hub reads."""
    transformer = model.config.transformer
    head = "gated GELU, head of its own" if transformer.activation == "gated-gelu" else "ReLU"
    sections = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [chemistry, molecules, smiles, t5]\n---",
        f"# {name}",
        "One T5-style encoder-decoder that reads SMILES and text with the same weights, writes either from the other, "
        "and embeds both in one space (after Atomas, ICLR 2025). Made with atomas_jax.",
        f"{model.parameter_count:,} parameters: {transformer.encoder_layers} + {transformer.decoder_layers} layers of "
        f"width {transformer.d_model} ({head}), {transformer.vocab_size:,} rows of vocabulary; weights in {dtype}; "
        f"embeddings of {model.config.alignment.embedding_dim} dimensions; training step {model.step:,}.",
        "## Training data",
        _data(run, model.step),
        "## Measured",
        _measured(run),
        "## Use",
        _use(model),
        _embedding(),
    ]
    if stablehlo:
        sections += ["Without torch, this package or flax:", _programs(stablehlo)]
    sections += ["## Limits", _limits(model), "## Licence", _licence(run)]
    return "\n\n".join(sections) + "\n"


def _sources(run: RunFolder) -> list[dict]:
    return read_json(run.corpus)["manifest"].get("sources", []) if run.corpus.is_file() else []


def _data(run: RunFolder, step: int | None) -> str:
    lines = []
    if run.imported.is_file():
        imported = read_json(run.imported)
        lines.append(f"Weights imported from `{Path(imported['source']).name}` ({imported['dtype']}).")
        if imported.get("rows"):
            rows = "; ".join(f"{row}: {source}" for row, source in imported["rows"].items())
            lines.append(f"Rows of the vocabulary that were free in it and start as copies: {rows}.")
        if "alignment" in imported and not step:
            lines.append(f"Alignment heads: {imported['alignment']}; embeddings mean nothing until they are trained.")
    rows = [
        f"| {source['name']} | {source['role']} | {sum(source['kept'].values()):,} | {source['licence'] or '?'} |"
        for source in _sources(run)
    ]
    if rows:
        lines.append("\n".join(["| source | role | rows kept | licence |", "|---|---|---|---|", *rows]))
    return "\n\n".join(lines) or "Not recorded in the run folder."


def _measured(run: RunFolder) -> str:
    tables = []
    for path in sorted(run.evaluation.glob("**/results.json")):
        try:
            found = results.load(path)
        except UserError:
            continue
        for heading, systems in found.items():
            for system, result in systems.items():
                told = ", ".join(
                    f"{metric} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
                    for metric, score in result.scores.items()
                )
                stamp = result.stamp
                settings = ", ".join(f"{key} {value}" for key, value in stamp.settings.items())
                tables.append(
                    f"- {heading}, {system} ({path.parent.name}, {stamp.rows:,} rows): {told}. Protocol "
                    f"{stamp.protocol}; {settings}; data {stamp.data}"
                )
    return "\n".join(tables) + "\n\nIntervals: 95 %, bootstrap over rows." if tables else "Not measured in this run."


def _use(model: TrainedModel) -> str:
    smiles = (
        "tokenizer" if model.tokenizer.kind == "t5" else 'AutoTokenizer.from_pretrained(folder + "/tokenizer_smiles")'
    )
    return f"""```python
from transformers import AutoTokenizer, GenerationConfig, T5ForConditionalGeneration

folder = "."  # this one
model = T5ForConditionalGeneration.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
smiles_tokenizer = {smiles}

molecule = smiles_tokenizer(["CC(=O)Oc1ccccc1C(=O)O"], return_tensors="pt")
caption = model.generate(input_ids=molecule.input_ids, attention_mask=molecule.attention_mask)
print(tokenizer.batch_decode(caption, skip_special_tokens=True))

text = tokenizer(["The molecule is a benzoic acid."], return_tensors="pt")
settings = GenerationConfig.from_pretrained(folder, "generation_molecules.json")
written = model.generate(input_ids=text.input_ids, attention_mask=text.attention_mask, generation_config=settings)
print(tokenizer.batch_decode(written, skip_special_tokens=True))
```"""


def _embedding() -> str:
    return """Embeddings of molecules and texts in one space (unit vectors; cosines are dot products):

```python
import torch
from safetensors.torch import load_file

heads = load_file(folder + "/alignment.safetensors")

def encode(batch, side):  # side: "smiles" or "text"
    with torch.no_grad():
        states = model.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        mask = batch.attention_mask[..., None].to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1)
        projection = f"{side}.global_head.projection"
        vectors = pooled.float() @ heads[projection + ".kernel"] + heads[projection + ".bias"]
        return torch.nn.functional.normalize(vectors, dim=-1)

similarity = encode(molecule, "smiles") @ encode(text, "text").T
```"""


def _programs(lengths: tuple[int, ...]) -> str:
    return f"""```python
import jax
import numpy as np
from safetensors.numpy import load_file

weights = load_file("stablehlo/weights.safetensors")
program = jax.export.deserialize(open("stablehlo/smiles_{lengths[0]}.bin", "rb").read())
tokens = np.zeros((1, {lengths[0]}), np.int32)  # ids of the string, its end mark (1), then zeros
tokens[0, 0] = 1
vectors = program.call(weights, tokens)
```

Lengths there are: {", ".join(map(str, lengths))} tokens; the batch is free."""


def _limits(model: TrainedModel) -> str:
    kind = (
        "Its vocabulary is T5's with the missing characters added; where two cuts of a string into pieces are equally "
        "likely, this folder's tokenizer and atomas_jax's may choose differently."
        if model.tokenizer.kind == "t5"
        else "`tokenizer_smiles` gives the unknown token for bracket atoms outside the vocabulary, which atomas_jax "
        "(tokenizer in `atomas_tokenizer`) spells. Captions and SMILES go through different tokenizers."
    )
    constraint = (
        "" if model.tokenizer.kind == "t5" else "atomas_jax writes SMILES under a validity constraint and replaces "
        "what RDKit does not read; `generate` of transformers does neither, so that some of what it writes is no "
        "molecule. "
    )  # fmt: skip
    return (
        "What is written may be false or no molecule: have a chemist and RDKit look. Not for decisions about health, "
        f"safety or law. {constraint}{kind}"
    )


def _licence(run: RunFolder) -> str:
    licences = sorted({source["licence"] for source in _sources(run) if source.get("licence")})
    if not licences:
        return "That of the weights imported and of the data trained on; neither is recorded in the run folder."
    return "The data's licences bind: " + "; ".join(licences) + "."
