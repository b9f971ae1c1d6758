"""Sequences a second of our decoding beside Hugging Face's `generate`: the same weights, lengths and machine, one run.

    python -m benchmarks.decoding --preset t5-small --batches 1 64 256 --out decoding.json

Random weights write for ever, so the end token is forbidden on both sides and every string has exactly `--new-tokens`
tokens: nothing is gained by strings that end early. Batches of `--own-lengths` are measured once more with strings that
end by themselves, as a trained model's do (see `END_WEIGHT`; not for presets whose head is the embedding). With
`--run RUN --molecules FILE` a trained model captions molecules, and strings end where they end, at `--new-tokens` at
the latest. The cost of the validity constraint is measured apart, on molecules of `--constraint-batch` inputs with and
without it, all of the same number of tokens (none may end; needs a run, for its tokenizer). Batches over 64 write
`--large-new-tokens`. Each figure is the best of `--repeats` runs after one that is not counted; both sides take
turns.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from atomas_jax.decoding.generate import DecoderWeights, generate
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.decoding.validity import smiles_validity
from atomas_jax.interchange.huggingface import config_to_huggingface, from_state_dict, to_state_dict
from atomas_jax.model.configuration import PRESETS, T5Config, preset
from atomas_jax.trained import TrainedModel, load

EOS_ID = 1
END_WEIGHT = 2.5
"""How many times larger a random head's weights of the end token are made. Of 64 strings by `small` (greedy) half then
end within 24 tokens and two in five not within 64: 33 on average."""


class Task(NamedTuple):
    """What is written."""

    start_id: int
    ends: bool
    """Whether the end token may be written."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    options = _parser().parse_args(arguments)
    trained = load(options.run) if options.run else None
    config = trained.config.transformer if trained else preset(options.preset).transformer
    config = replace(config, dtype=options.dtype, **({} if trained else {"vocab_size": options.vocabulary}))
    ways = {
        "greedy": DecodingConfig(max_length=options.new_tokens, dtype=options.dtype),
        "beam 5": DecodingConfig(method="beam", beams=5, max_length=options.new_tokens, dtype=options.dtype),
    }
    model, params = _models(config, options.dtype, trained.params["transformer"] if trained else None)
    start_id = trained.tokenizer.text_start_id if trained else 0
    bandwidth = _copy_bandwidth()
    weight_bytes = _step_bytes(config)
    rng = np.random.default_rng(0)
    rows = []
    for batch in options.batches:
        if trained:
            lines = options.molecules.read_text().split()[:batch]
            inputs = [trained.tokenizer.encode_smiles(smiles) for smiles in lines]
        else:
            width = options.source_tokens - 1
            inputs = [[*rng.integers(4, config.vocab_size, width).tolist(), EOS_ID] for _ in range(batch)]
        tasks = [Task(start_id, ends=trained is not None)]
        if not trained and not config.tied_head and batch in options.own_lengths:
            tasks.append(Task(start_id, ends=True))
        for task, name in product(tasks, options.ways):
            length = options.new_tokens if batch <= 64 else min(options.new_tokens, options.large_new_tokens)
            settings = replace(ways[name], max_length=length)
            runs = [partial(_ours, params, config, inputs, settings, task)]
            if not options.no_huggingface:
                runs.append(partial(_theirs, model, inputs, settings, task))
            (ours, tokens), *theirs = _best(runs, options.repeats)
            row = {"batch": batch, "way": name, "ends": task.ends, "ours": batch / ours}
            row["tokens"] = float(np.mean([*map(len, tokens)]))
            # less than reading all this once no search whose rows read their own caches can take
            read = _bytes_read(config, settings, [*map(len, inputs)], [*map(len, tokens)])
            row |= {"bytes_read": read, "of_floor": read / bandwidth / ours}
            for seconds, expected in theirs:
                row |= {"huggingface": batch / seconds, "ratio": seconds / ours}
                row["same_strings"] = float(np.mean([a == b for a, b in zip(tokens, expected, strict=True)]))
            rows.append(row)
            print(_line(row), flush=True)
    constraint = None
    if trained and trained.tokenizer.kind == "atomwise":
        constraint = _constraint_cost(trained, params, config, options)
        print(f"constraint at batch {constraint['batch']}: {constraint['cost']:+.1%} of the time without it")
    facts = {
        "device": str(jax.devices()[0]), "cpu": platform.processor() or platform.machine(), "cpus": os.cpu_count(),
        "jax": jax.__version__, "bandwidth_gb_s": bandwidth / 1e9, "step_weight_bytes": weight_bytes,
        "model": asdict(config), "source_tokens": options.source_tokens, "new_tokens": options.new_tokens,
        "end_weight": END_WEIGHT, "rows": rows, "constraint": constraint,
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(facts, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--vocabulary", type=int, default=32128)
    parser.add_argument("--run", type=Path, help="a trained run instead of random weights")
    parser.add_argument("--molecules", type=Path, help="SMILES for it to caption, one a line")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--ways", nargs="+", default=["greedy", "beam 5"], choices=("greedy", "beam 5"))
    parser.add_argument(
        "--own-lengths", type=int, nargs="*", default=[64], help="batches measured again with strings that end"
    )
    parser.add_argument("--source-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--large-new-tokens", type=int, default=16, help="tokens of batches over 64")
    parser.add_argument("--constraint-batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-huggingface", action="store_true", help="time ours alone")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def _models(config: T5Config, dtype: str, params: dict | None):
    """A Hugging Face model, on the GPU where there is one, and the same parameters for ours, those of the decoder laid
    out for it, as a loaded model keeps them; random where None."""
    import torch
    import transformers

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**config_to_huggingface(config))).eval()
    if not config.tied_head:  # transformers ties it whatever the configuration says
        model.lm_head.weight = torch.nn.Parameter(torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5)
    if params is None:
        if not config.tied_head:
            model.lm_head.weight.data[EOS_ID] *= END_WEIGHT
        state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        params = from_state_dict(state, config)
    else:
        state = to_state_dict(jax.device_get(params), config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.tensor(state[name]))
    params = jax.device_put(params, jax.devices()[0])
    return model.to(device, getattr(torch, dtype)), DecoderWeights(params)


def _ours(params, config: T5Config, inputs, settings: DecodingConfig, task: Task) -> list[list[int]]:
    allowed = (np.arange(config.vocab_size) != EOS_ID) | task.ends
    return _written(params, config, inputs, settings, task.start_id, allowed)


def _written(
    params, config: T5Config, inputs, settings: DecodingConfig, start_id: int, allowed, constraint=None
) -> list[list[int]]:
    written = generate(
        params, config, inputs, settings,
        start_id=start_id, allowed=allowed, constraint=constraint, batch_size=len(inputs),
    )  # fmt: skip
    return [result.tokens[0] for result in written]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _NeverLast:
    """A constraint that never sees the end of the string near, so that it never has to ask for the end token."""

    of: Any

    def start(self, rows):
        return self.of.start(rows)

    def allowed(self, state, remaining):
        return self.of.allowed(state, remaining + 1000)

    def advance(self, state, tokens):
        return self.of.advance(state, tokens)


def _constraint_cost(trained: TrainedModel, params, config: T5Config, options) -> dict:
    """Seconds to sample molecules with the validity constraint and without, and what it adds, as a share.

    The end token is forbidden, so that both write the same number of tokens, which is in the figures too.
    """
    tokenizer, batch = trained.tokenizer, options.constraint_batch
    inputs = [tokenizer.encode_text(f"A molecule of {n} carbon atoms.") for n in range(batch)]
    settings = DecodingConfig(method="sample", max_length=options.new_tokens, dtype=options.dtype)
    allowed = np.asarray(tokenizer.smiles_ids) & (np.arange(len(tokenizer.smiles_ids)) != EOS_ID)
    write = partial(_written, params, config, inputs, settings, tokenizer.smiles_start_id, allowed)
    constraint = _NeverLast(smiles_validity(tokenizer, options.new_tokens))
    found = zip(("without", "with"), _best([write, partial(write, constraint=constraint)], options.repeats))
    seconds = {}
    for name, (best, tokens) in found:
        seconds |= {name: best, f"tokens {name}": float(np.mean([*map(len, tokens)]))}
    return {"batch": batch, **seconds, "cost": seconds["with"] / seconds["without"] - 1}


def _theirs(model, inputs, settings: DecodingConfig, task: Task) -> list[list[int]]:
    import torch

    width = max(map(len, inputs))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in inputs], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in inputs], device=model.device)
    model.generation_config.eos_token_id = EOS_ID if task.ends else None
    with torch.inference_mode():
        output = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=settings.max_length,
            decoder_start_token_id=task.start_id,
            do_sample=False,
            num_beams=settings.beams if settings.method == "beam" else 1,
            suppress_tokens=None if task.ends else [EOS_ID],
        )
    rows = output[:, 1:].tolist()
    return [row[: row.index(EOS_ID) + 1] if EOS_ID in row else row for row in rows]


def _best(runs: list[Callable], repeats: int) -> list[tuple[float, Any]]:
    """Of each, the shortest of several runs in seconds, after one that compiles, and what the last gave.

    They take turns, for a machine is slower at one time than at another.
    """
    seconds = [math.inf] * len(runs)
    results = [run() for run in runs]
    for _ in range(repeats):
        for at, run in enumerate(runs):
            start = time.perf_counter()
            results[at] = run()
            seconds[at] = min(seconds[at], time.perf_counter() - start)
    return list(zip(seconds, results))


def _step_bytes(config: T5Config) -> int:
    """Bytes of the weights a decoding step reads: the decoder's layers and the head, less cross-attention's keys and
    values, which are computed once a string."""
    inner = config.num_heads * config.d_kv
    matrices = 2 + (config.activation == "gated-gelu")
    layer = config.d_model * (6 * inner + matrices * config.d_ff)
    numbers = config.decoder_layers * layer + config.d_model * config.vocab_size
    return numbers * np.dtype(jax.numpy.dtype(config.dtype)).itemsize


def _bytes_read(config: T5Config, settings: DecodingConfig, sources: list[int], lengths: list[int]) -> int:
    """Bytes that all steps read: weights once a step; for each string not yet ended, the keys and values of its source
    once a step, and those of its own tokens once a step and row."""
    position = 2 * config.decoder_layers * config.num_heads * config.d_kv
    position *= np.dtype(jax.numpy.dtype(config.dtype)).itemsize
    written = settings.continuations * position * sum(length * (length + 1) // 2 for length in lengths)
    return max(lengths) * _step_bytes(config) + position * sum(map(mul, sources, lengths)) + written


def _copy_bandwidth() -> float:
    """Bytes a second at which the device reads memory: a sum over an array beyond every cache."""
    big = jax.numpy.ones(2**28 // 4 * (1 if jax.default_backend() == "cpu" else 8), jax.numpy.float32)
    total = jax.jit(jax.numpy.sum)
    ((seconds, _),) = _best([lambda: total(big).block_until_ready()], 5)
    return big.nbytes / seconds


def _line(row: dict) -> str:
    lengths = "own lengths" if row["ends"] else "one length "
    text = f"batch {row['batch']:>4}  {row['way']:<8} {lengths} {row['tokens']:5.1f} tokens  ours {row['ours']:9.2f}/s"
    text += f"  {row['of_floor']:6.1%} of the floor"
    if "ratio" in row:
        text += f"  Hugging Face {row['huggingface']:9.2f}/s  ratio {row['ratio']:5.2f}  same {row['same_strings']:.0%}"
    return text


if __name__ == "__main__":
    main()
