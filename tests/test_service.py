"""The HTTP service: what it answers, what it refuses, and that callers share batches and nothing else."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small_index import ASPIRIN, make_index, untrained, write_library

from atomas_jax.cli import main
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.retrieval.finder import Finder, Question, SearchSettings
from atomas_jax.service.batching import Batcher, Busy

TestClient = pytest.importorskip("fastapi.testclient").TestClient


@pytest.fixture(scope="module")
def model():
    made = untrained()
    made.experiment = replace(made.experiment, decoding=DecodingConfig(max_length=16))
    return made


@pytest.fixture(scope="module")
def finder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    return Finder(make_index(folder / "index", model, write_library(folder / "library.tsv"))[0], model)


@pytest.fixture(scope="module")
def client(model, finder):
    from atomas_jax.service.app import make_app

    with TestClient(make_app(model, "small", finder)) as client:
        yield client


def test_answers_are_those_of_the_model(client, model, finder):
    assert client.get("/health").json()["molecules"] == 8
    captions = client.post("/caption", json={"molecules": ["CCO", ASPIRIN]}).json()["answers"]
    assert captions == [[text] for text in model.caption(["CCO", ASPIRIN])]
    wanted = {"texts": ["an acid"], "decoding": {"method": "sample", "results": 2, "seed": 3}}
    written = client.post("/generate", json=wanted).json()["answers"]
    assert written == model.generate(["an acid"], method="sample", results=2, seed=3)
    with ThreadPoolExecutor(3) as callers:  # what another asks at the same time changes no sample
        asked = [{**wanted, "texts": texts} for texts in (["an acid", "an amine"], ["an acid"], ["an oil", "an acid"])]
        replies = callers.map(lambda request: client.post("/generate", json=request), asked)
        together = [reply.json()["answers"] for reply in replies]
    assert [answers[0] for answers in together[:2]] == written * 2
    embedded = client.post("/embed", json={"texts": ["an acid"], "molecules": ["CCO", "CCN"]}).json()
    np.testing.assert_allclose(embedded["texts"], model.embed_text(["an acid"]), atol=1e-6)
    np.testing.assert_allclose(embedded["molecules"], model.embed_molecules(["CCO", "CCN"]), atol=1e-6)
    asked = {"texts": ["an acid"], "k": 3, "where": ["weight<150"], "forbid_smarts": ["c"]}
    (answer,) = client.post("/search", json=asked).json()["answers"]
    from atomas_jax.retrieval.conditions import conditions

    held = conditions(finder.index, ["weight<150"], (), ["c"])
    (direct,) = finder.find([Question("an acid")], SearchSettings(k=3), held)
    assert [hit["id"] for hit in answer["hits"]] == [hit.row["id"] for hit in direct.hits]
    schema = client.get("/openapi.json").json()
    assert {"/caption", "/generate", "/embed", "/search", "/health"} <= set(schema["paths"])


MALFORMED = [
    ("/caption", {}, 422, "molecules"),
    ("/caption", {"molecules": []}, 422, "molecules"),
    ("/caption", {"molecules": "CCO"}, 422, "molecules"),
    ("/caption", {"molecules": [""]}, 422, "molecules"),
    ("/caption", {"molecules": ["CCO", "no molecule"]}, 422, "molecule 1 (counted from 0)"),
    ("/caption", {"molecules": ["C"] * 65}, 422, "molecules"),
    ("/caption", {"molecules": ["C"], "decoding": {"beams": 1000}}, 422, "beams"),
    ("/caption", {"molecules": ["C"], "decoding": {"methd": "beam"}}, 422, "methd"),
    ("/caption", {"molecules": ["C"], "decoding": {"temperature": 0}}, 422, "temperature"),
    ("/generate", {"texts": ["x" * 100_000]}, 422, "texts"),
    ("/generate", {"texts": ["   "]}, 422, "text 0"),
    ("/generate", {"texts": ["an acid"], "decoding": {"max_length": 3}}, 422, "max_length leaves 3 tokens"),
    ("/generate", {"texts": ["x" * 10_000] * 64 + ["x" * 600_000]}, 413, "bytes"),
    ("/embed", {}, 422, "nothing to embed"),
    ("/embed", {"texts": [3]}, 422, "texts"),
    ("/search", {"k": 3}, 422, "texts or molecules"),
    ("/search", {"texts": ["an acid"], "molecules": ["C"]}, 422, "not both"),
    ("/search", {"texts": ["an acid"], "k": 0}, 422, "k"),
    ("/search", {"texts": ["an acid"], "where": ["colour=red"]}, 422, "no column"),
    ("/search", {"texts": ["an acid"], "require_smarts": ["C("]}, 422, "no SMARTS"),
    ("/nowhere", {}, 404, "Not Found"),
]


@pytest.mark.parametrize("path, body, status, said", MALFORMED)
def test_malformed_requests_are_refused_and_nothing_dies(client, path, body, status, said):
    refused = client.post(path, json=body)
    assert refused.status_code == status and said in refused.text
    assert client.post("/embed", json={"molecules": ["CCO"]}).status_code == 200


def test_what_is_no_json_and_wrong_methods_are_refused(client):
    for body in (b"", b"{", b"\xff\xfe", b"[1, 2", b"null"):
        assert client.post("/embed", content=body, headers={"content-type": "application/json"}).status_code == 422
    assert client.get("/caption").status_code == 405
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "path, body, said",
    [
        ("/caption", '{"molecules": ["C"], "decoding": {"temperature": NaN}}', "temperature"),
        ("/caption", '{"molecules": ["C"], "decoding": {"temperature": 1e999}}', "temperature"),
        ("/embed", r'{"texts": ["a \ud800 b"]}', "valid string"),
        ("/embed", r'{"molecules": ["C\udfff"]}', "valid string"),
        ("/embed", r'{"texts": ["a"], "te\ud800": 1}', "valid string"),
        ("/search", r'{"texts": ["a"], "where": ["id~\ud800"]}', "valid string"),
        ("/search", r'{"texts": ["a"], "require_smarts": ["\ud800"]}', "valid string"),
    ],
)
def test_what_json_can_write_and_no_answer_can_is_refused_in_one_line(client, path, body, said):
    refused = client.post(path, content=body, headers={"content-type": "application/json"})
    detail = refused.json()["detail"]
    assert refused.status_code == 422 and said in detail and len(detail.splitlines()) == 1
    whole = client.post("/embed", content=r'{"texts": ["\ud83d\ude00"]}', headers={"content-type": "application/json"})
    assert whole.status_code == 200  # both halves are a character


def test_without_an_index_there_is_no_search(model):
    from atomas_jax.service.app import make_app

    with TestClient(make_app(model, "small")) as client:
        assert client.post("/search", json={"texts": ["an acid"]}).status_code == 404
        assert client.get("/health").json()["molecules"] is None


def batcher_of(scenario, work, **settings):
    """Run a scenario with a batcher that works."""

    async def main():
        batcher = Batcher(work, **settings)
        working = asyncio.create_task(batcher.run())
        try:
            return await scenario(batcher)
        finally:
            working.cancel()
            batcher.close()

    return asyncio.run(main())


def test_callers_share_batches_of_one_kind_and_get_their_own_results():
    done, at_once, running = [], [], threading.Lock()

    def work(kind, items):
        at_once.append(running.acquire(blocking=False))
        done.append((kind, len(items)))
        running.release()
        return [(kind, item) for item in items]

    async def scenario(batcher):
        asked = [batcher.ask("ab"[i % 2], [i, i + 100]) for i in range(20)]
        return await asyncio.gather(*asked)

    results = batcher_of(scenario, work, largest=8)
    assert results == [[("ab"[i % 2], i), ("ab"[i % 2], i + 100)] for i in range(20)]
    assert all(at_once) and len(done) == 6 and max(count for _, count in done) == 8


def test_a_batch_that_fails_is_told_to_its_callers_alone():
    def work(kind, items):
        if kind == "bad":
            raise RuntimeError("out of memory")
        return items

    async def scenario(batcher):
        asked = [batcher.ask("bad", [1]), batcher.ask("good", [2]), batcher.ask("bad", [3])]
        first = await asyncio.gather(*asked, return_exceptions=True)
        return first, await batcher.ask("good", [4])

    first, then = batcher_of(scenario, work)
    assert [type(each) for each in first] == [RuntimeError, list, RuntimeError] and then == [4]


def test_too_many_waiting_are_turned_away_and_who_has_gone_is_not_worked_for():
    go, worked = threading.Event(), []

    def work(kind, items):
        go.wait(10)
        worked.extend(items)
        return items

    async def scenario(batcher):
        first = asyncio.create_task(batcher.ask("a", [1]))
        await asyncio.sleep(0.05)  # the device has it
        second = asyncio.create_task(batcher.ask("a", [2, 3]))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await batcher.ask("a", [4])
        second.cancel()
        await asyncio.sleep(0)
        go.set()
        assert await first == [1]
        assert await batcher.ask("a", [5]) == [5]

    batcher_of(scenario, work, most=2)
    assert worked == [1, 5]


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stop:
        main(["serve", str(tmp_path / "no run"), "--port", str(taken.getsockname()[1])])
    told = capsys.readouterr().err
    assert (stop.value.code, told.count("\n")) == (2, 1)
    assert "ddress already in use" in told
