"""Compiled programs that outlive their process: a second start traces nothing.

jax's compilation cache (JAX_COMPILATION_CACHE_DIR) saves a second process the compiling; to look a program up there
the process still traces and lowers it, which for a training step takes longer than all else together. A program kept
here is found by what it was made from instead. Without that folder nothing is kept.
"""

import hashlib
import os
import pickle
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from atomas_jax.files import write_whole
from atomas_jax.training import processes

NEWEST = 32
"""Programs that stay in the folder; older ones are removed when one is written."""

_CHECKSUM_BYTES = hashlib.sha256().digest_size
_ROOMS = ("batching", "model", "objectives", "training")
_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Kept:
    """A jitted function whose program is read from the folder of compiled programs, or compiled and written there.

    All calls take arguments of the shapes, types and places of the first one's. Every process of a job makes its first
    call together with the others: one that compiled while another did not would wait for it.
    """

    def __init__(self, function: Callable, *facts):
        """`function` is a result of `jax.jit`. `facts` are values whose `repr` says what its program is, together with
        the arguments of the call, the code of this package, the versions of the libraries, the compiler's flags and the
        devices; one left out would let a wrong program be found."""
        self._function, self._facts = function, facts
        self._program = None

    def load(self, *arguments) -> Callable:
        """The program for arguments like these (arrays, or shapes with places), ready to be called."""
        folder = jax.config.jax_compilation_cache_dir
        if self._program is None:
            self._program = _program(Path(folder), self._function, self._facts, arguments) if folder else self._function
        return self._program

    def __call__(self, *arguments):
        return self.load(*arguments)(*arguments)


def _program(folder: Path, function, facts: tuple, arguments: tuple) -> jax.stages.Compiled:
    path = folder / f"atomas-{_digest(facts, arguments)}.program"
    program = _read(path)
    if processes.all_agree(program is not None):
        return program
    program, looked_up = _compiled(function, arguments)
    if looked_up and jax.default_backend() == "cpu":  # written again, such a program would lack kernels (jaxlib 0.10)
        return program
    try:
        pickled = pickle.dumps(serialize(program))
        write_whole(path, hashlib.sha256(pickled).digest() + pickled)
        by_age = sorted(folder.glob("atomas-*.program"), key=lambda old: old.stat().st_mtime)
        for old in by_age[:-NEWEST]:
            old.unlink(missing_ok=True)
    except (OSError, ValueError, NotImplementedError):  # a full disk; a backend that cannot hand its programs out
        pass
    return program


def _compiled(function, arguments: tuple) -> tuple[jax.stages.Compiled, bool]:
    """The program of a jitted function, and whether jax found it in its own cache."""
    events = []
    note = lambda event, **_: events.append(event)  # noqa: E731
    jax.monitoring.register_event_listener(note)
    try:
        return function.lower(*arguments).compile(), "/jax/compilation_cache/cache_hits" in events
    finally:
        jax.monitoring.unregister_event_listener(note)


def _read(path: Path) -> jax.stages.Compiled | None:
    """The program of that file; None where there is none that can be read."""
    try:
        content = path.read_bytes()
        checksum, pickled = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        return deserialize_and_load(*pickle.loads(pickled)) if hashlib.sha256(pickled).digest() == checksum else None
    except (OSError, jax.errors.JaxRuntimeError):
        return None


def _digest(facts: tuple, arguments: tuple) -> str:
    leaves, tree = jax.tree.flatten(arguments)
    told = [
        *facts, tree, *((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves),
        [(device.id, device.device_kind, device.client.platform_version) for device in jax.devices()],
        (jax.process_index(), jax.process_count(), _processor(), [version(name) for name in _LIBRARIES]),
        sorted((name, value) for name, value in jax.config.values.items() if "cache" not in name),
        [os.environ.get(name) for name in _FLAGS],
    ]  # fmt: skip
    digest = hashlib.sha256("\n".join(map(repr, told)).encode())
    package = Path(__file__).parents[1]
    for source in sorted(source for room in _ROOMS for source in (package / room).glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _processor() -> tuple[str, ...]:
    """What this machine's processor can do: programs for it hold instructions others lack."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else [platform.processor()]
    return platform.machine(), *sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
