"""The HTTP service over one run, and one index where there is one.

Everything a caller can get wrong is answered by a status of 400 to 499 with one line and reaches no device. The device
has one thread; strings of all callers that want the same of it share its batches (see `batching`), whose numbers of
rows are powers of two, so that few programs are compiled. What is drawn for a string hangs on its place in its request,
and a caller's seed gives the same, but for rounding, whoever else asks.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

import atomas_jax
from atomas_jax.chemistry.molecules import parse
from atomas_jax.errors import UserError
from atomas_jax.model.widths import fitting
from atomas_jax.retrieval.conditions import conditions
from atomas_jax.retrieval.finder import Finder, Question, SearchSettings
from atomas_jax.retrieval.showing import as_values
from atomas_jax.service.batching import Batcher, Busy
from atomas_jax.service.requests import (
    LARGEST_BODY,
    MOST_STRINGS,
    CaptionRequest,
    Decoding,
    Embedded,
    EmbedRequest,
    Found,
    GenerateRequest,
    Health,
    Refused,
    SearchRequest,
    Written,
)
from atomas_jax.trained import TrainedModel


def make_app(
    model: TrainedModel, name: str, finder: Finder | None = None, largest: int = MOST_STRINGS, most: int = 1024
) -> FastAPI:
    """The service.

    Args:
      name: of the run, for /health.
      finder: of the index that /search asks; without it /search is 404.
      largest: strings the device does at a time. most: strings that may wait; more are told 503.
    """
    batcher = Batcher(partial(_work, model, finder), largest, most)

    @asynccontextmanager
    async def lifespan(_):
        working = asyncio.create_task(batcher.run())
        yield
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        batcher.close()

    app = FastAPI(
        title="atomas_jax", description="Molecules and language in one space.", version=atomas_jax.__version__,
        lifespan=lifespan, responses={422: {"model": Refused}},
    )  # fmt: skip
    app.add_middleware(BodyLimit, largest=LARGEST_BODY)

    @app.exception_handler(UserError)
    async def refuse(_, error: UserError) -> JSONResponse:
        return _refused(str(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_body(_, error: RequestValidationError) -> JSONResponse:
        # without the input itself, which may be NaN or half a character and could not be written
        told = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        return _refused("; ".join(told))

    @app.exception_handler(Busy)
    async def busy(_, error: Busy) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "1"})

    async def write(task: str, strings: Sequence[str], decoding: Decoding) -> Written:
        settings = decoding.model_dump(exclude_none=True)
        model.check(task, model.decoding(**settings))  # what cannot be is told before it reaches the device
        items = list(enumerate(strings))
        return Written(answers=await batcher.ask((task, tuple(sorted(settings.items()))), items))

    @app.get("/health")
    async def health() -> Health:
        """Whether the service answers, and what it serves."""
        return Health(
            run=name, step=model.step, molecules=len(finder.index) if finder else None, waiting=batcher.waiting,
            batches=batcher.batches, items=batcher.items,
        )  # fmt: skip

    @app.post("/caption")
    async def caption(request: CaptionRequest) -> Written:
        """Texts for molecules."""
        _check(request.molecules, parse, "molecule")
        return await write("caption", request.molecules, request.decoding)

    @app.post("/generate")
    async def generate(request: GenerateRequest) -> Written:
        """Molecules for texts."""
        _check(request.texts, Question, "text")
        return await write("generate", request.texts, request.decoding)

    @app.post("/embed")
    async def embed(request: EmbedRequest) -> Embedded:
        """Unit vectors in the space that texts and molecules share."""
        if not request.texts and not request.molecules:
            raise UserError("nothing to embed: give texts, molecules or both")
        _check(request.texts, Question, "text")
        _check(request.molecules, parse, "molecule")
        texts, molecules = await asyncio.gather(
            batcher.ask(("embed_text",), request.texts), batcher.ask(("embed_molecules",), request.molecules)
        )
        return Embedded(texts=texts, molecules=molecules)

    @app.post("/search")
    async def search(request: SearchRequest) -> Found:
        """Molecules of the index that texts describe, or that are like molecules."""
        if finder is None:
            raise HTTPException(404, "this service has no index: start it with --index")
        if bool(request.texts) == bool(request.molecules):
            raise UserError("give texts or molecules, not both")
        but_not = tuple(request.but_not)
        _check(request.molecules, parse, "molecule")
        questions = _check(request.texts, lambda text: Question(text, but_not=but_not), "text")
        questions += [Question(smiles=smiles, but_not=but_not) for smiles in request.molecules]
        settings = SearchSettings(request.k, request.rerank, request.twins, answer_always=request.answer_always)
        asked = (tuple(request.where), tuple(request.require_smarts), tuple(request.forbid_smarts))
        conditions(finder.index, *asked)  # what cannot be read is told before it reaches the device
        return Found(answers=await batcher.ask(("search", settings, asked), questions))

    return app


def _check(strings: Sequence[str], read: Callable, what: str) -> list:
    """What `read` makes of each; what it refuses is told by its place."""
    made = []
    for place, string in enumerate(strings):
        try:
            made.append(read(string))
        except UserError as error:
            raise UserError(f"{what} {place} (counted from 0): {error}") from None
    return made


def _refused(why: str) -> JSONResponse:
    line = " ".join(why.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    return JSONResponse({"detail": line}, status_code=422)


def _work(model: TrainedModel, finder: Finder | None, kind: Hashable, items: list) -> list:
    """What the device's thread does with a batch."""
    task = kind[0]
    if task in ("caption", "generate"):
        places, strings = zip(*items)
        longest = max(len(string.encode()) for string in strings)  # no fewer than its tokens
        batch_size = fitting(len(strings), longest)
        written = model.answers(task, strings, numbers=places, batch_size=batch_size, **dict(kind[1]))
        return [[answer.string for answer in answers] for answers in written]
    if task == "search":
        _, settings, asked = kind
        answers = finder.find(items, settings, conditions(finder.index, *asked))
        return as_values(answers, finder.index.columns)
    return getattr(model, task)(items).tolist()


class BodyLimit:
    """Answers 413 to a request whose body is larger than `largest` bytes, whatever its header says, and reads no more
    of it."""

    def __init__(self, app, largest: int):
        self._app, self._largest = app, largest

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._largest:
                said = JSONResponse({"detail": f"a request has at most {self._largest:,} bytes"}, status_code=413)
                await said(scope, receive, send)
                return
        given = False

        async def replay():
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)
