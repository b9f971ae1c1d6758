"""`atomas serve`: a run over HTTP."""

import socket
import sys
from contextlib import suppress
from pathlib import Path

from tyro.conf import Positional

from atomas_jax.errors import UserError


def serve(
    run: Positional[Path],
    index: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    checkpoint: str = "best",
    batch: int = 64,
    waiting: int = 1024,
) -> None:
    """Caption, generate, embed and search over HTTP; http://HOST:PORT/docs describes the calls.

    There is no authentication: the default address is reached from this machine only.

    Args:
      run: A run folder.
      index: An index that the run made, for /search.
      host: Address to listen on.
      port: Port to listen on; 0 is any that is free.
      checkpoint: best, latest, or a step that was kept.
      batch: Strings of all callers done together.
      waiting: Strings that may wait; a request beyond is told 503.
    """
    try:
        import fastapi  # noqa: F401  (said before a model is loaded)
        import uvicorn
    except ModuleNotFoundError as missing:
        raise UserError(f"{missing.name} is not installed: pip install 'atomas_jax[serve]'") from None
    from atomas_jax.retrieval.finder import Finder
    from atomas_jax.retrieval.index import Index
    from atomas_jax.service.app import make_app
    from atomas_jax.trained import load

    if not 1 <= batch <= waiting:
        raise UserError(
            f"--batch is {batch} and --waiting {waiting}: want 1 or more, and no more in a batch than may wait"
        )
    with _listening(host, port) as listening:  # said before a model is loaded, too
        opened = Index.open(index) if index else None
        model = load(run, checkpoint)
        finder = Finder(opened, model) if opened else None
        app = make_app(model, str(run), finder, batch, waiting)
        print(f"http://{host}:{listening.getsockname()[1]}/docs describes the calls; Ctrl-C stops", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that callers may connect to; their requests wait. Raises UserError where there can be none."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UserError(f"cannot listen on {host}, port {port}: {why}; name another --port or --host") from None
