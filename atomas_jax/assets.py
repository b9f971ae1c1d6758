"""Files of other people that the field's definitions rest on: where they come from, and that they are the right ones.

None is part of this package. Each is fetched from its official home or taken from a local file into the user's data
folder, once, and only with the expected contents; `atomas evaluate` finds it there. What another file would measure
is another number, so a file of other contents is refused here (its path can still be given to a command by name).
"""

import functools
import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from atomas_jax.downloads import LONGEST, download
from atomas_jax.errors import UserError
from atomas_jax.files import write_whole

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Asset:
    """One thing to have.

    Attributes:
      about: what it is. needed_for: what does without it, and how. licence: its terms, in short.
      homes: addresses to try in order, of the file itself or of an archive that holds it.
      files: what is kept, name -> SHA-256 (hex) of its contents.
    """

    name: str
    about: str
    needed_for: str
    licence: str
    homes: tuple[str, ...]
    files: Mapping[str, str]


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "scibert",
            "WordPiece vocabulary of SciBERT, uncased, 31,090 entries (allenai/scibert_scivocab_uncased)",
            "BLEU and METEOR of captions by the protocols on SciBERT tokens, which cannot run without it",
            "Apache 2.0",
            (f"{_HUB}/allenai/scibert_scivocab_uncased/resolve/main/vocab.txt",),
            # Of the copies in two unrelated public repositories, alike byte by byte: with them BLEU and METEOR of
            # MolT5's released captions come out as published (tests/test_evaluation_real.py). Not read off the hub.
            {"vocab.txt": "f0a650346e51ede8996710f79ba65d83fdb8da05b159f17037b74ba4e3a36c6f"},
        ),
        Asset(
            "wordnet",
            "WordNet 3.0 (Princeton), as NLTK distributes it",
            "the synonym stage of METEOR; without it METEOR has its exact and stem stages, and the stamp says so",
            "WordNet licence",
            (
                "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/wordnet.zip",
                "https://wordnetcode.princeton.edu/3.0/WordNet-3.0.tar.gz",
            ),
            # Of the database files as nltk/wordnet holds them (wn/data/wordnet-3.0). Archives of the same files
            # differ in bytes by how they were packed, so the contents are checked and not the archive.
            {
                "adj.exc": "8824cc24bbedd797b9702316b27f07cd4c2b76b629539f0a1276f03926758016",
                "adv.exc": "e7291461b629abfe63301bbe1998cee09fd575ed7107abd7ea9763adb05bf0a8",
                "data.adj": "f24b635368be441501c9b8001e9271fd3b30b203f00d91e332979e6f8fe35646",
                "data.adv": "e66dbbda0e0359e41b7f225bff71dd0c263dc7c66c1b61abc9ba334973d92979",
                "data.noun": "489f145e0f68877c0be5bd0eb4117adaaac52f38f6204eb8d85dbe2158b614cc",
                "data.verb": "29cc96ed80c9f47d94fe75e332a9df80f4b1c737205f92d2f433d63c6da2ab51",
                "index.adj": "42f58dda2c7cff66eb8fa55ba62e0a873a9b3f43c878e8201108f5dab6dcff28",
                "index.adv": "6f5465ed5758fe9c8a2f7ec17b1300f3aa875756c70ff7cba162f7e71bcf88ea",
                "index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
                "index.verb": "c7c79b558d787f1e31c6f8b3eeadb8fcbb26a64545ecc1241e21d9b61f95ee8e",
                "lexnames": "4767e2a1c6e68c1a93aa6b7c4ef7ebe9a815b50d7d5aac2788696f2cf3633bf1",
                "noun.exc": "2b5d675c380b39ecf595af9fa9d4e7feb1d58c643b0bff08c40ed5bfe41fab7a",
                "verb.exc": "dbbcf9a601b2d77e934e413b91d90e88ec7f933a8b77cfc00602a923b891b42c",
            },
        ),
        Asset(
            "t5",
            "SentencePiece model of T5, T5 v1.1 and MolT5, 32,000 pieces (google-t5/t5-base)",
            "BLEU and METEOR of captions by the protocols on T5 pieces, which cannot run without it",
            "Apache 2.0",
            (
                f"{_HUB}/google-t5/t5-base/resolve/main/spiece.model",
                f"{_HUB}/google-t5/t5-small/resolve/main/spiece.model",
            ),
            # Of a copy in a public repository, 791,656 bytes, 32,000 pieces. Not read off the hub.
            {"spiece.model": "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86"},
        ),
    )
}

State = Literal["ready", "missing", "damaged"]


def folder() -> Path:
    """Where assets are kept: $ATOMAS_DATA, else atomas_jax in $XDG_DATA_HOME, else in ~/.local/share."""
    if given := os.environ.get("ATOMAS_DATA"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "atomas_jax"


def named(name: str) -> Asset:
    """The asset of that name. Raises `UserError` naming those there are."""
    if name not in ASSETS:
        raise UserError(f"no asset {name!r}; there are: {', '.join(ASSETS)}")
    return ASSETS[name]


def find(name: str) -> Path | None:
    """Where an asset is, None when it is not there: the file, or the folder of an asset of several files. Contents are
    not read: they were checked when they were put there."""
    asset = named(name)
    if not all((folder() / name / file).is_file() for file in asset.files):
        return None
    return _place(asset)


def state(name: str) -> State:
    """Whether an asset is there, by reading its contents."""
    asset = named(name)
    if find(name) is None:
        return "missing"
    right = all(_sum((folder() / name / file).read_bytes()) == wanted for file, wanted in asset.files.items())
    return "ready" if right else "damaged"


def fetch(asset: Asset) -> Path:
    """Download an asset from the first of its homes that gives the right contents; returns where it is.

    $HF_ENDPOINT stands for the Hugging Face hub where it is set, as in the hub's own tools.

    Raises `UserError` when none does, with the reason of each, or when the folder cannot be written.
    """
    failures = []
    for home in asset.homes:
        address = home.replace(_HUB, (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/"))
        try:
            contents = _chosen(asset, _unpacked(download(address, f"download {asset.name}"), address), address)
        except UserError as error:
            failures.append(str(error))
            continue
        return _keep(asset, contents)
    advice = f"get the file another way and run `atomas assets {asset.name} --from FILE`"
    raise UserError(f"{asset.name} could not be downloaded: {'; '.join(failures)}: {advice}")


def take(asset: Asset, source: str) -> Path:
    """Take an asset from a file, an archive (zip, tar) or folder that holds it, or an address; returns where it is.

    Raises `UserError` for what cannot be read or does not hold the right contents.
    """
    if source.startswith(("https://", "http://")):
        return _keep(asset, _chosen(asset, _unpacked(download(source, f"download {asset.name}"), source), source))
    path = Path(source).expanduser()
    return _keep(asset, _chosen(asset, _members(asset, path), str(path)))


@functools.lru_cache(maxsize=8)
def other_contents(name: str, path: Path) -> str:
    """'' where a file, archive or folder holds the asset's own contents; else 8 hex digits that name what it holds."""
    asset = named(name)
    members = _members(asset, path)
    try:
        _chosen(asset, members, str(path))
    except UserError:
        return _sum("".join(_sum(contents) for _, contents in members).encode())[:8]
    return ""


def _members(asset: Asset, path: Path) -> list[tuple[str, bytes]]:
    """(file name, contents) of what may be the asset's in a file, an archive or anywhere in a folder."""
    try:
        if path.is_dir():
            wanted = (found for file in asset.files for found in sorted(path.rglob(file)) if found.is_file())
            archives = sorted(path.rglob(f"{asset.name}.zip"))
            inside = (member for archive in archives for member in _unpacked(_limited(archive), str(archive)))
            return [*((found.name, _limited(found)) for found in wanted), *inside]
        return list(_unpacked(_limited(path), str(path)))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _limited(path: Path) -> bytes:
    if path.stat().st_size > LONGEST:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes: it is not the file that is wanted")
    return path.read_bytes()


def _unpacked(data: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    """(file name, contents) of an archive's members, or of the file itself, whose name means nothing: ''."""
    file = io.BytesIO(data)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    if not member.is_dir() and member.file_size <= LONGEST:
                        yield PurePosixPath(member.filename).name, archive.read(member)
            return
        file.seek(0)
        if data[:2] in (b"\x1f\x8b", b"BZ") or data[257:262] == b"ustar":
            with tarfile.open(fileobj=file) as archive:
                for member in archive:
                    if member.isfile() and member.size <= LONGEST:
                        yield PurePosixPath(member.name).name, archive.extractfile(member).read()
        else:
            yield "", data
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise UserError(f"{where} is a damaged archive: {error}") from None


def _chosen(asset: Asset, members, where: str) -> dict[str, bytes]:
    """The asset's files among (name, contents), each of the right contents."""
    found: dict[str, bytes] = {}
    other: dict[str, str] = {}
    alone = next(iter(asset.files)) if len(asset.files) == 1 else ""
    for name, contents in members:
        name = name or alone
        if name in asset.files and name not in found:
            if _sum(contents) == asset.files[name]:
                found[name] = contents
            else:
                other[name] = _sum(contents)
    for name, wanted in asset.files.items():
        if name not in found and name in other:
            raise UserError(f"{where}: {name} is not the {asset.name} file wanted: sha256 {other[name]}, not {wanted}")
        if name not in found:
            raise UserError(f"{where} holds no {name} of {asset.name}")
    return found


def _keep(asset: Asset, contents: dict[str, bytes]) -> Path:
    try:
        for name, data in contents.items():
            write_whole(folder() / asset.name / name, data)
    except OSError as error:
        raise UserError(f"cannot write {folder() / asset.name}: {error.strerror}") from None
    return _place(asset)


def _place(asset: Asset) -> Path:
    """The file of an asset of one file, the folder of another."""
    home = folder() / asset.name
    return home / next(iter(asset.files)) if len(asset.files) == 1 else home


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
