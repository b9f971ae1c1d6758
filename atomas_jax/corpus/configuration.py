"""What a corpus is made of: sources, what is held out, splits, tokenizer, as frozen dataclasses."""

from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Literal

from atomas_jax.errors import UserError

Format = Literal["auto", "tsv", "csv", "jsonl", "json", "parquet", "smi", "hub"]


@dataclass(frozen=True)
class Source:
    """Where pairs come from: one file, or one split of a data set on the Hugging Face hub."""

    path: str
    """A file (gzip'd or not), a name of `atomas_jax.corpus.hub` such as chebi20, a hub id such as owner/name, or a
    folder laid out like a hub data set."""
    name: str = ""
    """What rows and manifest call the source; the file name without its endings when empty."""
    split: str = ""
    """Split of a hub data set; train when empty."""
    smiles: str = ""
    """Column of the SMILES; found by its usual names when empty."""
    text: str = ""
    """Column of the caption; found by its usual names when empty."""
    id: str = ""
    """Column of the row's id; found by its usual names when empty, the row's line number where there is none."""
    format: Format = "auto"
    """auto: by the file's ending (.txt is TSV)."""
    delimiter: str = ""
    """One character between columns; a tab for TSV, a comma for CSV, any blanks for .smi when empty."""
    header: bool = True
    """The first line names the columns. Without it, columns are called by their number: 1, 2, ..."""
    quotes: Literal["auto", "literal", "csv"] = "auto"
    """literal: a quotation mark is a character like any other (ChEBI-20's files). csv: quotes enclose cells that may
    hold delimiters and line breaks. auto: csv for CSV, literal for TSV."""
    backslashes: Literal["fixed", "as_shipped"] = "fixed"
    r"""fixed: `\\` in a SMILES becomes `\`. ChEBI-20's files, and others made from them, double every backslash."""
    encoding: str = "utf-8"
    """Of text files; any encoding that extends ASCII."""
    licence: str = ""
    """Noted in the manifest."""

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        stem = PurePath(self.path).name
        while PurePath(stem).suffix in _ENDINGS:
            stem = PurePath(stem).stem
        return f"{stem}:{self.split}" if self.split else stem

    @property
    def word(self) -> str:
        """What `parse` reads this source from."""
        changed = [each for each in fields(self)[1:] if getattr(self, each.name) != each.default]
        values = {each.name: getattr(self, each.name) for each in changed}
        shown = {key: str(value).lower() if isinstance(value, bool) else value for key, value in values.items()}
        return ",".join([self.path, *(f"{key}={value}" for key, value in shown.items())]).replace("\t", "\\t")

    @classmethod
    def parse(cls, text: str) -> "Source":
        """A source written in one word: `FILE[,setting=value...]` or `NAME:SPLIT[,setting=value...]`.

        >>> Source.parse("pairs.csv,text=caption,quotes=literal").text
        'caption'
        >>> Source.parse("chebi20:validation").split
        'validation'

        Raises `UserError` for an unknown setting or value.
        """
        path, *settings = text.split(",")
        given = {}
        if ":" in path and "/" not in path.rpartition(":")[2] and "\\" not in path:
            path, _, given["split"] = path.rpartition(":")
        known = {each.name: each for each in fields(cls)}
        for setting in settings:
            key, equals, value = setting.partition("=")
            if not equals or key not in known:
                raise UserError(f"source {text!r}: {setting!r} is no setting=value; settings are {', '.join(known)}")
            choices = getattr(known[key].type, "__args__", ())
            if choices and value not in choices:
                raise UserError(f"source {text!r}: {key} is one of {', '.join(choices)}, not {value!r}")
            if known[key].type is bool and value not in ("true", "false"):
                raise UserError(f"source {text!r}: {key} is true or false, not {value!r}")
            given[key] = value == "true" if known[key].type is bool else value
        return cls(
            path, **{key: value.replace("\\t", "\t") if key == "delimiter" else value for key, value in given.items()}
        )


_ENDINGS = {
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
    ".tsv",
    ".txt",
    ".tab",
    ".csv",
    ".jsonl",
    ".ndjson",
    ".json",
    ".parquet",
    ".smi",
}


@dataclass(frozen=True)
class LeakageConfig:
    """What counts as the same pair when rows are compared with the held-out sources and the given splits."""

    by_identity: bool = True
    """Refuse a row whose molecule (InChIKey) is held out."""
    by_caption: bool = True
    """Refuse a row whose caption is held out; case and runs of blanks are ignored."""
    ignore_stereo: bool = False
    """Also refuse a row whose molecule without stereo marks equals a held-out one without them."""


@dataclass(frozen=True)
class SplitConfig:
    """How the rows of `sources` become train, validation and test. All rows of a molecule go into one split."""

    method: Literal["given", "random", "scaffold"] = "given"
    """given: all to train, save what `rows_from` takes. random: by a hash of the molecule without stereo marks, so
    that stereo twins stay together. scaffold: by a hash of the Bemis-Murcko scaffold; a molecule without rings is its
    own scaffold."""
    validation: float = 0.05
    """Expected share of groups in validation (random and scaffold)."""
    test: float = 0.05
    """Expected share of groups in test (random and scaffold)."""
    rows_from: str = ""
    """Name of one source of which `rows` rows are taken for validation (given only). Other sources' rows of these
    molecules, or with these captions, are refused as leaks."""
    rows: int = 0
    """How many rows `rows_from` gives."""
    seed: int = 0


@dataclass(frozen=True)
class CorpusConfig:
    """Everything that decides the content of a prepared corpus."""

    sources: tuple[Source, ...] = ()
    """Pairs to train on, divided as `split` says."""
    validation: tuple[Source, ...] = ()
    """Pairs that are validation as given."""
    test: tuple[Source, ...] = ()
    """Pairs that are test as given; never refused as leaks."""
    held_out: tuple[Source, ...] = ()
    """Pairs that must not be in train or validation; they are not stored. Test sources are held out from
    validation and train, validation sources from train, without being named here."""
    describe: tuple[Source, ...] = ()
    """SMILES files whose captions `atomas_jax.chemistry` writes from structure; divided as `split` says."""
    embedded: int = 0
    """Pairs of the embedded corpus to add; divided as `split` says."""
    leakage: LeakageConfig = field(default_factory=LeakageConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    tokenizer: str = "train"
    """Folder of a tokenizer, or `train`: train one on this corpus's training rows."""
    vocab_size: int = 4096
    """Ids at most of a tokenizer trained here; a small corpus yields fewer."""
    tokenizer_rows: int = 200_000
    """Training rows (the first by a hash) that a tokenizer trained here sees at most."""
    spellings: int = 0
    """Random SMILES spellings of each training row, stored beside the given one; repeats are dropped."""
    seed: int = 0
    """Of the embedded corpus, descriptions, spellings and the tokenizer's training."""
