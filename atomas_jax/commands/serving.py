"""`atomas serve`: a run over HTTP."""

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
      port: Port to listen on.
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
    opened = Index.open(index) if index else None
    model = load(run, checkpoint)
    finder = Finder(opened, model) if opened else None
    uvicorn.run(make_app(model, str(run), finder, batch, waiting), host=host, port=port, log_level="warning")
