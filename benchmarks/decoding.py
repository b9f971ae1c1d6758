"""Sequences a second of our decoding beside Hugging Face's `generate`: the same weights, lengths and machine, one run.

    python -m benchmarks.decoding --preset t5-small --batches 1 64 256 --out decoding.json

Random weights write for ever, so the end token is forbidden on both sides and every string has exactly `--new-tokens`
tokens: nothing is gained by strings that end early. Each figure is the best of `--repeats` runs after one that is not
counted.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from atomas_jax.decoding.generate import generate
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.interchange.huggingface import config_to_huggingface, from_state_dict
from atomas_jax.model.configuration import PRESETS, T5Config, preset

START = 0
EOS_ID = 1


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    options = _parser().parse_args(arguments)
    config = replace(preset(options.preset).transformer, vocab_size=options.vocabulary, dtype=options.dtype)
    ways = {
        "greedy": DecodingConfig(max_length=options.new_tokens),
        "beam 5": DecodingConfig(method="beam", beams=5, max_length=options.new_tokens),
    }
    model, params = _models(config, options.dtype)
    bandwidth = _copy_bandwidth()
    weight_bytes = _step_bytes(config)
    rng = np.random.default_rng(0)
    rows = []
    for batch in options.batches:
        inputs = [[*rng.integers(4, config.vocab_size, options.source_tokens - 1).tolist(), 1] for _ in range(batch)]
        for name in options.ways:
            ours, tokens = _best(lambda: _ours(params, config, inputs, ways[name]), options.repeats)
            row = {"batch": batch, "way": name, "ours": batch / ours}
            # Below this no step can go: every step reads the decoder's weights once.
            row["of_floor"] = options.new_tokens * weight_bytes / bandwidth / ours
            if not options.no_huggingface:
                theirs, expected = _best(lambda: _theirs(model, inputs, ways[name]), options.repeats)
                row |= {"huggingface": batch / theirs, "ratio": theirs / ours}
                row["same_strings"] = float(np.mean([a == b for a, b in zip(tokens, expected, strict=True)]))
            rows.append(row)
            print(_line(row), flush=True)
    facts = {
        "device": str(jax.devices()[0]), "cpu": platform.processor() or platform.machine(), "cpus": os.cpu_count(),
        "jax": jax.__version__, "bandwidth_gb_s": bandwidth / 1e9, "step_weight_bytes": weight_bytes,
        "model": asdict(config), "source_tokens": options.source_tokens, "new_tokens": options.new_tokens,
        "rows": rows,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(facts, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--vocabulary", type=int, default=32128)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--ways", nargs="+", default=["greedy", "beam 5"], choices=("greedy", "beam 5"))
    parser.add_argument("--source-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-huggingface", action="store_true", help="time ours alone")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def _models(config: T5Config, dtype: str):
    """A Hugging Face model of random weights, on the GPU where there is one, and the same parameters for ours."""
    import torch
    import transformers

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**config_to_huggingface(config))).eval()
    if not config.tied_head:  # transformers ties it whatever the configuration says
        model.lm_head.weight = torch.nn.Parameter(torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5)
    params = from_state_dict({name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}, config)
    params = jax.device_put(params, jax.devices()[0])
    # The end token ends nothing: every string runs to the greatest length.
    model.generation_config.eos_token_id = None
    return model.to(device, getattr(torch, dtype)), params


def _ours(params, config: T5Config, inputs, settings: DecodingConfig) -> list[list[int]]:
    allowed = np.arange(config.vocab_size) != EOS_ID if settings.method else None
    written = generate(params, config, inputs, settings, start_id=START, allowed=allowed, batch_size=len(inputs))
    return [result.tokens[0] for result in written]


def _theirs(model, inputs, settings: DecodingConfig) -> list[list[int]]:
    import torch

    tokens = torch.tensor(inputs, device=model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=settings.max_length,
            decoder_start_token_id=START,
            do_sample=False,
            num_beams=settings.beams if settings.method == "beam" else 1,
            suppress_tokens=[EOS_ID],
        )
    return output[:, 1:].tolist()


def _best(run, repeats: int):
    """The shortest of several runs in seconds, after one that compiles, and what the last gave."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def _step_bytes(config: T5Config) -> int:
    """Bytes of the weights a decoding step reads: the decoder's layers and the head, less cross-attention's keys and
    values, which are computed once a string."""
    inner = config.num_heads * config.d_kv
    matrices = 2 + (config.activation == "gated-gelu")
    layer = config.d_model * (6 * inner + matrices * config.d_ff)
    numbers = config.decoder_layers * layer + config.d_model * config.vocab_size
    return numbers * np.dtype(jax.numpy.dtype(config.dtype)).itemsize


def _copy_bandwidth() -> float:
    """Bytes a second at which the device reads memory: a sum over an array beyond every cache."""
    big = jax.numpy.ones(2**28 // 4 * (1 if jax.default_backend() == "cpu" else 8), jax.numpy.float32)
    total = jax.jit(jax.numpy.sum)
    seconds, _ = _best(lambda: total(big).block_until_ready(), 5)
    return big.nbytes / seconds


def _line(row: dict) -> str:
    text = f"batch {row['batch']:>4}  {row['way']:<8} ours {row['ours']:9.2f}/s  {row['of_floor']:6.1%} of the floor"
    if "ratio" in row:
        text += f"  Hugging Face {row['huggingface']:9.2f}/s  ratio {row['ratio']:5.2f}  same {row['same_strings']:.0%}"
    return text


if __name__ == "__main__":
    main()
