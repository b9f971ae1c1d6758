"""Assets from a server and from files: the right contents or nothing, and one line for every way to fail."""

import contextlib
import functools
import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import pytest

from atomas_jax import assets, cli, downloads
from atomas_jax.assets import Asset
from atomas_jax.errors import UserError

WORDS = {"noun.txt": b"a\nb\n" * 9000, "verb.txt": b"c\n"}


def asset(files: dict[str, bytes], *homes: str) -> Asset:
    return Asset("thing", "", "", "", homes, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


@contextlib.contextmanager
def serving(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Breaks(BaseHTTPRequestHandler):
    """Promises a thousand bytes and gives ten; below /slow it gives nothing, below /big it promises too much."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000" if self.path != "/big" else str(10**9))
        self.end_headers()
        if self.path == "/slow":
            self.wfile.flush()
            threading.Event().wait(1)
        self.wfile.write(b"x" * 10)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("ATOMAS_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "atomas_jax"


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    with serving(functools.partial(Quiet, directory=str(folder))) as address:
        yield folder, address


def archives(files: dict[str, bytes]) -> dict[str, bytes]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"deep/{name}", data)
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"../../{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return {"words.zip": zipped.getvalue(), "words.tar.gz": tarred.getvalue()}


@pytest.mark.parametrize("kind", ["words.zip", "words.tar.gz"])
def test_an_archive_is_fetched_checked_and_kept_by_its_files_alone(site, data, tmp_path, kind):
    folder, address = site
    (folder / kind).write_bytes(archives(WORDS | {"other.txt": b"?"})[kind])
    place = assets.fetch(asset(WORDS, f"{address}/{kind}"))
    assert place == data / "thing"
    assert {file.name: file.read_bytes() for file in place.iterdir()} == WORDS
    assert not list(tmp_path.glob("*.txt"))


def test_the_second_home_is_asked_when_the_first_fails(site, data):
    folder, address = site
    (folder / "wrong").write_bytes(b"something else")
    (folder / "right").write_bytes(WORDS["verb.txt"])
    homes = [f"{address}/{name}" for name in ("absent", "wrong", "right")]
    alone = {"verb.txt": WORDS["verb.txt"]}
    assert assets.fetch(asset(alone, *homes)).read_bytes() == alone["verb.txt"]
    (data / "thing" / "verb.txt").unlink()
    with pytest.raises(UserError, match=r"absent: the server says 404 .*; .*wrong: verb.txt is not the thing file"):
        assets.fetch(asset(alone, *homes[:2]))
    assert not list((data / "thing").iterdir())


def test_a_transfer_that_fails_leaves_nothing(data, site):
    with serving(Breaks) as address:
        with pytest.raises(UserError, match="broke off after 10 of 1,000 bytes"):
            assets.fetch(asset(WORDS, f"{address}/short"))
        with pytest.raises(UserError, match="1,000,000,000 bytes are not the file"):
            assets.fetch(asset(WORDS, f"{address}/big"))
        with pytest.raises(UserError, match=r"the transfer failed: .*timed out"):
            downloads.download(f"{address}/slow", "slow", timeout=0.2)
    with pytest.raises(UserError, match=r"cannot be reached: .*refused.*run `atomas assets thing --from FILE`"):
        assets.fetch(asset(WORDS, f"{address}/gone"))
    with pytest.raises(UserError, match="no http or https address"):
        downloads.download("file:///etc/hostname", "local")
    assert not data.exists()


@pytest.mark.parametrize(
    "files, message",
    [
        ({"verb.txt": b"c\n"}, "holds no noun.txt of thing"),
        (WORDS | {"noun.txt": b"changed"}, "noun.txt is not the thing file wanted: sha256 "),
    ],
)
def test_files_of_other_contents_are_refused(tmp_path, data, files, message):
    archive = tmp_path / "words.zip"
    archive.write_bytes(archives(files)["words.zip"])
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    for source in (archive, folder):
        with pytest.raises(UserError, match=message):
            assets.take(asset(WORDS), str(source))
    damaged = tmp_path / "cut.zip"
    damaged.write_bytes(archives(WORDS)["words.tar.gz"][:60])
    with pytest.raises(UserError, match="is a damaged archive"):
        assets.take(asset(WORDS), str(damaged))
    with pytest.raises(UserError, match="no such file"):
        assets.take(asset(WORDS), str(tmp_path / "nowhere"))
    assert not data.exists()


def test_state_reads_what_is_kept(data, tmp_path):
    alone = {"verb.txt": WORDS["verb.txt"]}
    source = tmp_path / "somewhere.bin"
    source.write_bytes(alone["verb.txt"])
    with mock.patch.dict(assets.ASSETS, thing=asset(alone)):
        assert (assets.find("thing"), assets.state("thing")) == (None, "missing")
        place = assets.take(assets.ASSETS["thing"], str(source))
        assert (assets.find("thing"), assets.state("thing")) == (place, "ready")
        assert assets.other_contents("thing", source) == ""
        place.write_bytes(b"!")
        assert assets.state("thing") == "damaged"
        assert len(assets.other_contents("thing", place)) == 8


def command(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return stop.value.code, *capsys.readouterr()


def test_the_command_lists_and_refuses_in_one_line(capsys, data, monkeypatch, tmp_path):
    code, out, _ = command(capsys, "assets")
    assert code == 0 and str(data) in out and out.count(" missing ") == len(assets.ASSETS)
    monkeypatch.setenv("ATOMAS_DATA", str(tmp_path / "mine"))
    assert str(tmp_path / "mine") in command(capsys, "assets")[1]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for words, message in (
        (["scibert"], "scibert could not be downloaded: http://127.0.0.1:9/allenai/"),
        (["scybert"], "no asset 'scybert'; there are: scibert, wordnet, t5"),
        (["scibert", "t5", "--from", "x"], "--from gives one asset, not 2"),
        (["--from", "x"], "--from needs the name"),
    ):
        code, _, err = command(capsys, "assets", *words)
        assert code == 2 and err.count("\n") == 1 and message in err


def test_the_real_files_by_the_command(capsys, shared, data, site, monkeypatch):
    folder, address = site
    monkeypatch.setenv("HF_ENDPOINT", address)
    for path, name in (
        ("allenai/scibert_scivocab_uncased/resolve/main/vocab.txt", "scibert_scivocab_uncased.vocab.txt"),
        ("google-t5/t5-base/resolve/main/spiece.model", "t5_spiece.model"),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).symlink_to(shared / "data/vocab" / name)
    assert command(capsys, "assets", "scibert", "t5")[0] == 0
    assert command(capsys, "assets", "wordnet", "--from", shared / "data/wordnet/wordnet.zip")[0] == 0
    assert {assets.state(name) for name in assets.ASSETS} == {"ready"}
    assert "already at" in command(capsys, "assets", "t5")[1]

    from atomas_jax.config import EvaluationConfig
    from atomas_jax.evaluation.captions import caption_metrics
    from atomas_jax.evaluation.measuring import caption_result

    for config, said in (
        (EvaluationConfig(protocol="molt5"), "3.0"),
        (EvaluationConfig(protocol="molt5", wordnet="none"), "no: METEOR without synonyms"),
        (EvaluationConfig(), "no: METEOR without synonyms"),
    ):
        found = caption_result(["an acid"], ["an acid"], config, "captions")
        assert found.stamp.settings["wordnet"] == said

    measured = caption_metrics(["the acid is blue"], ["an acid is blue"], "molt5", wordnet=assets.find("wordnet"))
    assert measured.stamp.settings["tokenizer"] == "scibert" and measured.stamp.settings["wordnet"] == "3.0"
    other = shared / "data/vocab/bert_base_uncased.vocab.txt"
    changed = caption_metrics(["the acid is blue"], ["an acid is blue"], "molt5", vocabulary=other)
    assert measured.stamp.difference(changed.stamp).startswith("tokenizer differs: scibert and scibert, from other")
