"""What all ways of decoding share: what is asked, what is given back, and the loop over tokens.

The loop is a compiled program for a number of rows and of cache places. It stops when half of its strings are done or
its caches are full; the host then drops the strings that are done, or makes the caches larger, and starts the program
of those shapes. Long strings so do not keep a whole batch at work, and short ones never pay for long caches. Several
devices each run their own rows and never wait for one another inside the loop.

Dimension letters: B strings, N continuations or results of each, R = B * N rows, L length, S length of the encoded
string, V vocabulary, D width.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.incremental import PARTS, Cache, StepWeights, decode_step, grow, init_cache, reorder
from atomas_jax.model.t5 import EncoderDecoder

PAD_ID = 0
EOS_ID = 1
_FIRST_CAPACITY = 64
_FEWEST_ROWS = 8
"""Strings on a device up to which dropping those that are done saves nothing; nor, where each has no more continuations
than this, do several sizes of cache."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Strings to continue."""

    tokens: Int[Array, "B S"]
    lengths: Int[Array, " B"]
    """Tokens of each; 0 for rows that only fill the batch: they count as done from the start."""
    start_ids: Int[Array, " B"]
    """The decoder's first token, which tells the direction."""
    row_ids: Int[Array, " B"]
    """Names the random numbers of a row, so that its samples do not depend on its place in a batch."""
    first: Int[Array, " B"] | None = None
    """The number of each string's first sample; None is 0. Its further samples go on from where others stopped."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rules:
    """What may be written: the same for all strings."""

    allowed: Bool[Array, " V"]
    """Tokens that may be written."""
    key: Array
    """Random key of the whole list."""
    constraint: Any = None
    """A `decoding.constraint.Constraint`; None is none."""
    prefix: Int[Array, " P"] | None = None
    """Tokens every string starts with, then zeros."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Decoded:
    """Strings written, for each input the best (beam) or the first drawn (sample) first."""

    tokens: Int[Array, "B N L"]
    """Without the start token, with the end token where there is one, then zeros."""
    lengths: Int[Array, "B N"]
    """Tokens written, the end token counted; 0 where fewer strings than asked for are possible."""
    finished: Bool[Array, "B N"]
    """Whether the string ended by itself; False where it was cut at the greatest length."""
    log_probability: Float[Array, "B N"]
    """Natural logarithm of the string's probability under the model's whole vocabulary, before temperature, cuts,
    constraint and `allowed`: the value that a teacher-forced pass gives."""
    score: Float[Array, "B N"]
    """What results are ranked by: see the method."""


State = TypeVar("State")


class Way(Protocol[State]):
    """A way of decoding. The leaves of its state are arrays [B, ...] or [R, ...]."""

    branching: bool
    """Whether rows may come to continue other rows of their string."""

    def start(self, batch: Batch, rules: Rules, settings: DecodingConfig) -> State:
        """Nothing written yet."""
        ...

    def last(self, state: State) -> Int[Array, " R"]:
        """The tokens to continue from."""
        ...

    def step(
        self,
        logits: Float[Array, "R V"],
        state: State,
        position: Int[Array, ""],
        rules: Rules,
        settings: DecodingConfig,
    ) -> tuple[State, Int[Array, " R"] | None]:
        """One token more at `position`, and the rows that the rows now continue (None: their own)."""
        ...

    def unfinished(self, state: State) -> Bool[Array, " B"]:
        """Strings that still need tokens."""
        ...

    def decoded(self, state: State, settings: DecodingConfig) -> Decoded:
        """The results."""
        ...


def capacities(max_length: int, strings: int, continuations: int) -> list[int]:
    """Cache sizes, one after the other: doubled from 64 up to `max_length`, made a multiple of `PARTS`, in which
    attention on CPU cuts places, for so many strings on a device and so many continuations of each.

    A token's cost grows with the places of the cache, read whether written or not; most strings end early. With few
    strings it is little beside the wait for a further program to compile, and one size serves.
    """
    last = -(-max_length // PARTS) * PARTS
    if strings <= _FEWEST_ROWS and continuations <= _FEWEST_ROWS:
        return [last]
    sizes, size = [], _FIRST_CAPACITY
    while size < last:
        sizes.append(size)
        size *= 2
    return [*sizes, last]


def decode(
    way: Way,
    params: Any,
    weights: StepWeights,
    config: T5Config,
    settings: DecodingConfig,
    batch: Batch,
    rules: Rules,
    mesh: Mesh | None = None,
) -> Decoded:
    """Decode one batch; gives NumPy arrays.

    `params` are those of `EncoderDecoder(config)`, `weights` their `step_weights`. With a `mesh` of one axis, "data",
    its devices share the strings evenly; their number must be a multiple of the devices.
    """
    static = {"way": way, "config": config, "settings": settings, "mesh": mesh}
    state, cache = _start(params, weights, batch, rules, **static)
    devices = mesh.size if mesh else 1
    home = np.arange(len(batch.lengths))  # where the rows in work belong; -1 for those that only fill
    results = None
    sizes = capacities(settings.max_length, len(home) // devices, settings.continuations)
    while True:
        rows = len(home) // devices
        state, cache, is_open = _run(weights, state, cache, rules, rows // 2 if rows > _FEWEST_ROWS else 0, **static)
        is_open = np.asarray(is_open).reshape(devices, rows)
        most = is_open.sum(1).max()
        fewer = max(_FEWEST_ROWS, 1 << int(most - 1).bit_length()) if most else 0
        if fewer < rows:
            done = jax.device_get(_results(state, **static))
            results = _gathered(results, done, home, len(batch.lengths))
            if not most:
                return results
            # those in work first; what only fills the places behind them is done and is dropped from the results
            order = np.argsort(~is_open, axis=1, kind="stable")[:, :fewer].astype(np.int32)
            kept_home = np.take_along_axis(np.where(is_open, home.reshape(devices, rows), -1), order, axis=1)
            home = kept_home.reshape(-1)
            state, cache = _shrink(state, cache, order.reshape(-1), **static)
        else:
            sizes = sizes[1:]
            cache = _grow(cache, capacity=sizes[0], mesh=mesh)


def _gathered(results: Decoded | None, done: Decoded, home: np.ndarray, rows: int) -> Decoded:
    """The results with those of the rows in work put where they belong; rows still open are overwritten later."""
    if results is None:
        results = jax.tree.map(lambda part: np.zeros((rows, *part.shape[1:]), part.dtype), done)

    def put(whole, part):
        whole[home[home >= 0]] = part[home >= 0]
        return whole

    return jax.tree.map(put, results, done)


_ROWS, _WHOLE = PartitionSpec("data"), PartitionSpec()


def _cache_specs(cache: Cache) -> Cache:
    specs = jax.tree.map(lambda _: _ROWS, cache)
    return replace(specs, self_bias=_WHOLE)


def _on_devices(function, mesh: Mesh | None, in_specs, out_specs):
    """Each device runs the function on its own rows."""
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _packed(cache: Cache) -> Cache:
    """The position as [1], so that devices, which run on their own, can have one each."""
    return replace(cache, position=cache.position[None])


def _unpacked(cache: Cache) -> Cache:
    return replace(cache, position=cache.position[0])


_STATIC = ("way", "config", "settings", "mesh")


@partial(jax.jit, static_argnames=_STATIC)
def _start(params, weights, batch, rules, *, way: Way, config, settings, mesh):
    def start(params, weights, batch, rules):
        mask = jnp.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
        encoded = EncoderDecoder(config).apply({"params": params}, batch.tokens, mask, method="encode")
        count = settings.continuations
        sizes = capacities(settings.max_length, len(mask), count)
        cache = init_cache(weights, config, encoded, mask, sizes[-1], count, sizes[0], way.branching)
        return way.start(batch, rules, settings), _packed(cache)

    # the cache's structure is known only once it is made; its specs go by the number of layers alone
    shapes = jax.eval_shape(start, params, weights, batch, rules)
    out = (_ROWS, _cache_specs(shapes[1]))
    return _on_devices(start, mesh, (_WHOLE, _WHOLE, _ROWS, _WHOLE), out)(params, weights, batch, rules)


@partial(jax.jit, static_argnames=_STATIC, donate_argnums=(1, 2))
def _run(weights, state, cache, rules, enough, *, way: Way, config, settings, mesh):
    """Write tokens until at most `enough` strings of a device are unfinished or its caches are full."""

    def run(weights, state, cache, rules, enough):
        def unfinished(state, cache):
            return way.unfinished(state) & (cache.position < settings.max_length)

        def more(carried):
            state, cache = carried
            return (cache.position < cache.capacity) & (jnp.sum(unfinished(state, cache)) > enough)

        def write(carried):
            state, cache = carried
            position = cache.position
            logits, cache = decode_step(weights, config, way.last(state), cache)
            state, rows = way.step(logits, state, position, rules, settings)
            return state, cache if rows is None else reorder(cache, rows)

        state, cache = jax.lax.while_loop(more, write, (state, _unpacked(cache)))
        return state, _packed(cache), unfinished(state, cache)

    specs = _cache_specs(cache)
    wrapped = _on_devices(run, mesh, (_WHOLE, _ROWS, specs, _WHOLE, _WHOLE), (_ROWS, specs, _ROWS))
    return wrapped(weights, state, cache, rules, enough)


@partial(jax.jit, static_argnames=_STATIC)
def _results(state, *, way: Way, config, settings, mesh):
    return _on_devices(lambda state: way.decoded(state, settings), mesh, (_ROWS,), _ROWS)(state)


@partial(jax.jit, static_argnames=_STATIC)
def _shrink(state, cache, order, *, way: Way, config, settings, mesh):
    """The strings of `order` alone, numbers among a device's own."""

    def shrink(state, cache, order):
        strings = way.unfinished(state).shape[0]

        def keep(leaf):
            each = leaf.reshape(strings, leaf.shape[0] // strings, *leaf.shape[1:])[order]
            return each.reshape(-1, *leaf.shape[1:])

        kept = jax.tree.map(keep, replace(cache, position=None, self_bias=None))
        return jax.tree.map(keep, state), replace(kept, position=cache.position, self_bias=cache.self_bias)

    specs = _cache_specs(cache)
    return _on_devices(shrink, mesh, (_ROWS, specs, _ROWS), (_ROWS, specs))(state, cache, order)


@partial(jax.jit, static_argnames=("capacity", "mesh"))
def _grow(cache, *, capacity, mesh):
    specs = _cache_specs(cache)
    return _on_devices(lambda cache: grow(cache, capacity), mesh, (specs,), specs)(cache)


def string_keys(key: Array, row_ids: Int[Array, " B"]) -> Array:
    """One random key a string [B], a function of `key` and the string's number alone."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(row_ids)


def row_keys(key: Array, batch: Batch, continuations: int) -> Array:
    """One random key a row [R], a function of `key`, the string's number and the sample's alone."""
    each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    first = jnp.zeros_like(batch.row_ids) if batch.first is None else batch.first
    samples = first[:, None] + jnp.arange(continuations)
    return jax.vmap(each)(string_keys(key, batch.row_ids), samples).reshape(-1)
