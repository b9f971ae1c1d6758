"""From lists of token ids of any lengths to strings written, batch by batch, in input order.

Dimension letters: B strings of a batch, S their padded length, V vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, repeat
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Int

from atomas_jax.decoding.beam import BeamSearch
from atomas_jax.decoding.constraint import Constraint
from atomas_jax.decoding.distinct import DistinctSampling
from atomas_jax.decoding.loop import Batch, Decoded, Rules, decode
from atomas_jax.decoding.sampling import Sampling
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.incremental import StepWeights, step_weights
from atomas_jax.model.widths import fitting, padded, power_of_two

_WAYS = {"greedy": Sampling, "sample": Sampling, "distinct": DistinctSampling, "beam": BeamSearch}
WINDOW = 32
"""Batches sorted by length together: enough for little padding, few enough that results keep coming."""


@dataclass(frozen=True)
class Written:
    """What was written for one input; one entry a result, in the order of `Decoded`.

    Fewer than asked for where a search finds no more strings, but never none.
    """

    tokens: list[list[int]]
    """Without the start token, with the end token where there is one."""
    finished: list[bool]
    """False where the string was cut at the greatest length."""
    log_probability: list[float]
    score: list[float]


def generate(
    params: Any,
    config: T5Config,
    inputs: Iterable[Sequence[int]],
    settings: DecodingConfig,
    *,
    start_id: int,
    allowed: Bool[np.ndarray, " V"] | None = None,
    constraint: Constraint | None = None,
    prefix: Sequence[int] = (),
    numbers: Iterable[int] | None = None,
    samples: Iterable[int] | None = None,
    batch_size: int = 64,
    window: int = WINDOW,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Written]:
    """Write `settings.written` strings for every input; yields in input order, as soon as a window of batches is done.

    `params`: unboxed parameters of `EncoderDecoder(config)`, or `DecoderWeights` of them for who calls often. `inputs`:
    token ids ending with the end token; read as needed, so the list may be endless. `start_id`: the decoder's start
    token. `allowed`: tokens that may be written, of the tokenizer's length or the model's; ids beyond it never are.
    `constraint`: what may follow what. `prefix`: tokens that every string starts with. `numbers`: what the inputs'
    random numbers are named by, 0, 1, 2 ... by themselves; `samples`: the number of each one's first sample, 0 by
    itself. `window`: batches sorted by length together at most; 1 for inputs that come slowly. `devices` share every
    batch (all of this process by themselves). `on_progress` is called with the number of inputs finished since the last
    call. Strings are padded to powers of two from 32, so few programs are compiled, and what a row gives does not
    depend on its neighbours but for rounding. Choosing among the strings written (`results`, `rerank`, `valid`) is left
    to the caller. Raises UserError for an input without tokens or with an unknown id.
    """
    way, progress = _WAYS[settings.method], on_progress or (lambda count: None)
    rules = Rules(
        allowed=_whole_vocabulary(allowed, config),
        key=jax.random.key(settings.seed),
        constraint=constraint,
        prefix=_forced(prefix, config, settings),
    )
    held = params if isinstance(params, DecoderWeights) else DecoderWeights(params)
    config = typed(config, settings, devices)
    mesh, placed = None, False
    settings, compiled = replace(settings, seed=0, compiled=True), settings.compiled
    named = zip(count() if numbers is None else numbers, repeat(0) if samples is None else samples)
    numbered = zip(count(), named, inputs)
    batches = 1
    while inputs_read := [
        (index, name, _checked(index, tokens, config)) for index, name, tokens in islice(numbered, batches * batch_size)
    ]:
        rows = min(batch_size, power_of_two(len(inputs_read)))
        if not placed:
            mesh, placed = _mesh(devices, rows, compiled), True
            params, weights = held.on(config, mesh)
            if mesh:
                rules = jax.device_put(rules, NamedSharding(mesh, PartitionSpec()))
        if mesh:
            rows = -(-rows // mesh.size) * mesh.size
        results: dict[int, Written] = {}
        by_length = sorted(inputs_read, key=lambda item: -len(item[2]))
        for group, each in _groups(by_length, rows, mesh.size if mesh else 1):
            with contextlib.nullcontext() if compiled else jax.disable_jit():
                decoded = decode(way, params, weights, config, settings, _padded(group, each, start_id), rules, mesh)
            results |= _read([index for index, _, _ in group], decoded)
            progress(len(group))
        for index, _, _ in inputs_read:
            yield results[index]
        batches = min(2 * batches, window)


class DecoderWeights:
    """Parameters and what every step reads of them, laid out for it: kept for the type and the devices they were wanted
    on last, so that further calls of `generate` copy nothing."""

    def __init__(self, params: Any):
        self._params, self._kept = params, {}

    def on(self, config: T5Config, mesh: Mesh | None) -> tuple[Any, StepWeights]:
        """The parameters of `EncoderDecoder(config)` and the weights of its step, on all devices of a mesh."""
        if (config, mesh) not in self._kept:
            kept = self._params, _step_weights(self._params, config)
            placed = jax.device_put(kept, NamedSharding(mesh, PartitionSpec())) if mesh else kept
            self._kept = {(config, mesh): placed}
        return self._kept[config, mesh]


_step_weights = jax.jit(step_weights, static_argnames="config")


def typed(config: T5Config, settings: DecodingConfig, devices: Sequence[jax.Device] | None = None) -> T5Config:
    """The model with the type that strings are written in."""
    if settings.dtype != "auto":
        return replace(config, dtype=settings.dtype)
    on_cpu = (devices or jax.local_devices())[0].platform == "cpu"
    return config if on_cpu else replace(config, dtype="bfloat16")


def _mesh(devices: Sequence[jax.Device] | None, rows: int, compiled: bool) -> Mesh | None:
    """The devices that share a batch of so many rows; None for one alone, and where there is a mesh already: what a
    training job writes between its steps goes by the mesh of the job."""
    devices = list(devices or jax.local_devices())[:rows]
    if len(devices) == 1 or not compiled or not jax.sharding.get_abstract_mesh().empty:
        return None
    return Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))


def _whole_vocabulary(allowed: Bool[np.ndarray, " V"] | None, config: T5Config) -> Bool[np.ndarray, " V"]:
    if allowed is None:
        allowed = np.ones(config.vocab_size, bool)
    allowed = np.asarray(allowed, bool)
    if len(allowed) > config.vocab_size:
        raise UserError(
            f"the tokenizer has {len(allowed)} ids, the model {config.vocab_size}: they do not belong together"
        )
    return np.pad(allowed, (0, config.vocab_size - len(allowed)))


def _forced(prefix: Sequence[int], config: T5Config, settings: DecodingConfig) -> Int[np.ndarray, " P"] | None:
    """The prefix padded to a power of two from 8, so that few programs are compiled."""
    if not len(prefix):
        return None
    if len(prefix) >= settings.max_length:
        raise UserError(f"the prefix has {len(prefix)} tokens, max_length is {settings.max_length}: raise it")
    tokens = _checked("prefix", prefix, config)
    return np.pad(tokens, (0, max(8, power_of_two(len(tokens))) - len(tokens)))


def _checked(index: int | str, tokens: Sequence[int], config: T5Config) -> Int[np.ndarray, " L"]:
    array = np.asarray(tokens, np.int32)
    if not array.size:
        raise UserError(f"input {index} has no tokens")
    unknown = array[(array < 0) | (array >= config.vocab_size)]
    if unknown.size:
        raise UserError(f"input {index} holds token {unknown[0]}, the model knows 0 to {config.vocab_size - 1}")
    return array


def _groups(by_length: list[tuple], rows: int, devices: int) -> Iterator[tuple[list[tuple], int]]:
    """Batches of `rows` strings, longest first; of fewer where so long ones take too much memory to attend to."""
    start = 0
    while start < len(by_length):
        each = min(rows, devices * fitting(rows // devices, padded(len(by_length[start][2]))))
        yield by_length[start : start + each], each
        start += each


def _padded(group: list[tuple[int, tuple[int, int], np.ndarray]], rows: int, start_id: int) -> Batch:
    width = padded(max(len(array) for _, _, array in group))
    tokens = np.zeros((rows, width), np.int32)
    lengths, row_ids, first = (np.zeros(rows, np.int32) for _ in range(3))
    for row, (_, name, array) in enumerate(group):
        tokens[row, : len(array)] = array
        lengths[row], (row_ids[row], first[row]) = len(array), name
    return Batch(tokens, lengths, np.full(rows, start_id, np.int32), row_ids, first)


def _read(indices: list[int], decoded: Decoded) -> dict[int, Written]:
    results = {}
    for at, index in enumerate(indices):
        places = np.flatnonzero(decoded.lengths[at])
        places = places if len(places) else np.arange(1)
        results[index] = Written(
            tokens=[decoded.tokens[at, n, : decoded.lengths[at, n]].tolist() for n in places],
            finished=decoded.finished[at, places].tolist(),
            log_probability=decoded.log_probability[at, places].tolist(),
            score=decoded.score[at, places].tolist(),
        )
    return results
