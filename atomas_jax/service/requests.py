"""What the service reads and answers, with its limits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_STRINGS = 64
"""Strings of one request."""
LONGEST = 4_000
"""Characters of one string."""
LARGEST_BODY = 1 << 20
"""Bytes of one request."""

String = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Strings = Annotated[list[String], Field(min_length=1, max_length=MOST_STRINGS)]
Few = Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=16)]


class Request(BaseModel):
    """No field but those named is taken: a misspelt one is an error and not a default."""

    model_config = ConfigDict(extra="forbid")


class Decoding(Request):
    """How to write; the run's own settings where absent."""

    method: Literal["greedy", "sample", "beam"] | None = None
    max_length: int | None = Field(None, ge=1, le=512, description="Tokens")
    results: int | None = Field(None, ge=1, le=10, description="Strings for each input")
    beams: int | None = Field(None, ge=1, le=16)
    temperature: float | None = Field(None, gt=0, le=10)
    top_k: int | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**31)


class CaptionRequest(Request):
    molecules: Strings = Field(description="SMILES")
    decoding: Decoding = Decoding()


class GenerateRequest(Request):
    texts: Strings
    decoding: Decoding = Decoding()


class EmbedRequest(Request):
    """Texts, molecules or both."""

    texts: list[String] = Field([], max_length=MOST_STRINGS)
    molecules: list[String] = Field([], max_length=MOST_STRINGS)


class SearchRequest(Request):
    """Texts or molecules, not both."""

    texts: list[String] = Field([], max_length=MOST_STRINGS)
    molecules: list[String] = Field([], max_length=MOST_STRINGS)
    k: int = Field(10, ge=1, le=1000)
    but_not: Few = []
    where: Few = Field([], description='Conditions such as "weight<500"')
    require_smarts: Few = []
    forbid_smarts: Few = []
    rerank: int = Field(0, ge=0, le=1000)
    twins: bool = False
    answer_always: bool = False


class Written(BaseModel):
    answers: list[list[str]] = Field(description="For each input, in its order, the strings written")


class Embedded(BaseModel):
    texts: list[list[float]]
    molecules: list[list[float]]


class Found(BaseModel):
    answers: list[dict]


class Refused(BaseModel):
    detail: str = Field(description="What is wrong, in one line")


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    run: str
    step: int | None
    molecules: int | None = Field(description="In the index, where there is one")
    waiting: int = Field(description="Strings that wait for the device")
    batches: int
    items: int
