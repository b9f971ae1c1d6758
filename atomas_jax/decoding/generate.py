"""From lists of token ids of any lengths to strings written, batch by batch, in input order.

Dimension letters: B strings of a batch, S their padded length, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from atomas_jax.decoding.beam import beam_search
from atomas_jax.decoding.constraint import Constraint
from atomas_jax.decoding.loop import Decoded, Request
from atomas_jax.decoding.sampling import sample
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import EncoderDecoder

_LARGEST_WINDOW = 32
"""Batches sorted by length together: enough for little padding, few enough that results keep coming."""


@dataclass(frozen=True)
class Written:
    """What was written for one input; one entry a result, in the order of `Decoded`."""

    tokens: list[list[int]]
    """Without the start token, with the end token where there is one."""
    finished: list[bool]
    """False where the string was cut at the greatest length."""
    log_probability: list[float]
    score: list[float]


def decode(params: Any, config: T5Config, settings: DecodingConfig, request: Request) -> Decoded:
    """Decode one batch of encoded strings by `settings.method`; may be traced. The seed is `request.key`."""
    return (beam_search if settings.method == "beam" else sample)(params, config, settings, request)


@partial(jax.jit, static_argnames=("config", "settings"))
def _encode_and_decode(
    params, tokens, start_ids, allowed, lengths, row_ids, key, constraint, prefix, *, config, settings
) -> Decoded:
    mask = jnp.arange(tokens.shape[1]) < lengths[:, None]
    encoded = EncoderDecoder(config).apply({"params": params}, tokens, mask, method="encode")
    request = Request(
        encoded=encoded,
        encoded_mask=mask,
        start_ids=start_ids,
        allowed=allowed,
        active=lengths > 0,
        row_ids=row_ids,
        key=key,
        constraint=constraint,
        prefix=prefix,
    )
    return decode(params, config, settings, request)


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
    batch_size: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Written]:
    """Write `settings.results` strings for every input; yields in input order, as soon as a window of batches is done.

    `params`: unboxed parameters of `EncoderDecoder(config)`. `inputs`: token ids ending with the end token; read as
    needed, so the list may be endless. `start_id`: the decoder's start token. `allowed`: tokens that may be written, of
    the tokenizer's length or the model's; ids beyond it never are. `constraint`: what may follow what. `prefix`:
    tokens that every string starts with. `on_progress` is called with the number of inputs
    finished since the last call. Strings are padded to powers of two from 32, so few programs are compiled, and what a
    row gives does not depend on its neighbours. Raises UserError for an input without tokens or with an unknown id.
    """
    allowed = _whole_vocabulary(allowed, config)
    forced = _forced(prefix, config, settings)
    settings, key = replace(settings, seed=0), jax.random.key(settings.seed)
    progress = on_progress or (lambda count: None)
    numbered = enumerate(inputs)
    batches = 1
    while window := [_checked(i, tokens, config) for i, tokens in islice(numbered, batches * batch_size)]:
        rows = min(batch_size, _power_of_two(len(window)))
        results: dict[int, Written] = {}
        waiting: tuple[list[int], Decoded] | None = None
        by_length = sorted(window, key=lambda item: -len(item[1]))
        for first in range(0, len(by_length), rows):
            group = by_length[first : first + rows]
            tokens, lengths, row_ids = _padded(group, rows)
            started = _encode_and_decode(
                params,
                tokens,
                np.full(rows, start_id, np.int32),
                allowed,
                lengths,
                row_ids,
                key,
                constraint,
                forced,
                config=config,
                settings=settings,
            )
            # The device works on this batch while the last one is read back.
            if waiting:
                results |= _read(*waiting)
                progress(len(waiting[0]))
            waiting = ([index for index, _ in group], started)
        results |= _read(*waiting)
        progress(len(waiting[0]))
        for index, _ in window:
            yield results[index]
        batches = min(2 * batches, _LARGEST_WINDOW)


def _whole_vocabulary(allowed: Bool[np.ndarray, " V"] | None, config: T5Config) -> Bool[np.ndarray, "1 V"]:
    if allowed is None:
        allowed = np.ones(config.vocab_size, bool)
    allowed = np.asarray(allowed, bool)
    if len(allowed) > config.vocab_size:
        raise UserError(
            f"the tokenizer has {len(allowed)} ids, the model {config.vocab_size}: they do not belong together"
        )
    return np.pad(allowed, (0, config.vocab_size - len(allowed)))[None]


def _forced(prefix: Sequence[int], config: T5Config, settings: DecodingConfig) -> Int[np.ndarray, " P"] | None:
    """The prefix padded to a power of two from 8, so that few programs are compiled."""
    if not len(prefix):
        return None
    if len(prefix) >= settings.max_length:
        raise UserError(f"the prefix has {len(prefix)} tokens, max_length is {settings.max_length}: raise it")
    _, tokens = _checked("prefix", prefix, config)
    return np.pad(tokens, (0, max(8, _power_of_two(len(tokens))) - len(tokens)))


def _checked(index: int | str, tokens: Sequence[int], config: T5Config) -> tuple[int | str, Int[np.ndarray, " L"]]:
    array = np.asarray(tokens, np.int32)
    if not array.size:
        raise UserError(f"input {index} has no tokens")
    unknown = array[(array < 0) | (array >= config.vocab_size)]
    if unknown.size:
        raise UserError(f"input {index} holds token {unknown[0]}, the model knows 0 to {config.vocab_size - 1}")
    return index, array


def _padded(group: list[tuple[int, np.ndarray]], rows: int) -> tuple[Array, Array, Array]:
    width = max(32, _power_of_two(max(len(array) for _, array in group)))
    tokens = np.zeros((rows, width), np.int32)
    lengths = np.zeros(rows, np.int32)
    row_ids = np.zeros(rows, np.int32)
    for row, (index, array) in enumerate(group):
        tokens[row, : len(array)] = array
        lengths[row] = len(array)
        row_ids[row] = index
    return tokens, lengths, row_ids


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _read(indices: list[int], decoded: Decoded) -> dict[int, Written]:
    decoded = jax.device_get(decoded)
    return {
        index: Written(
            tokens=[row[:length].tolist() for row, length in zip(decoded.tokens[at], decoded.lengths[at], strict=True)],
            finished=decoded.finished[at].tolist(),
            log_probability=decoded.log_probability[at].tolist(),
            score=decoded.score[at].tolist(),
        )
        for at, index in enumerate(indices)
    }
