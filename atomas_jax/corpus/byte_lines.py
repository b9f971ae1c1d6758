"""A `datasets` builder that gives the lines of a file as bytes.

The builders that come with `datasets` do not serve rows that may be damaged. Its CSV builder stops at the first row
pandas cannot decode or finds too wide, and keeps no line numbers. Its text builder takes `encoding` and
`encoding_errors`, but forgets both when the file is compressed (version 5.2), so one bad byte ends a .gz file. Bytes
leave the decision to the reader, line by line, and `datasets` still opens whatever it can: plain and compressed files.

Importing this module imports `datasets`; `readers` does so when a file is read.
"""

from dataclasses import dataclass

import datasets
import pyarrow as pa
from datasets.builder import Key

CHUNK = 1 << 22
LONGEST_LINE = 1 << 24
"""Bytes of a line that are kept; it bounds the memory a file without line ends can take."""


@dataclass
class ByteLinesConfig(datasets.BuilderConfig):
    """The file's path comes as `data_files`."""


class ByteLines(datasets.ArrowBasedBuilder):
    """One column `line`, bytes without the line end; lines end at a line feed, with or without a carriage return."""

    BUILDER_CONFIG_CLASS = ByteLinesConfig

    def _info(self):
        return datasets.DatasetInfo(features=datasets.Features({"line": datasets.Value("binary")}))

    def _split_generators(self, dl_manager):
        paths = dl_manager.download_and_extract(self.config.data_files)["train"]
        return [datasets.SplitGenerator("train", {"files": [dl_manager.iter_files(path) for path in paths]})]

    def _generate_shards(self, files):
        yield from files

    def _generate_tables(self, files):
        for shard, paths in enumerate(files):
            for path in paths:
                # While streaming, `datasets` replaces `open` in this module by one that decompresses.
                with open(path, "rb") as handle:
                    for batch, lines in enumerate(_batches(handle)):
                        yield Key(shard, batch), pa.table({"line": pa.array(lines, pa.binary())})


def _batches(handle):
    rest = b""
    while chunk := handle.read(CHUNK):
        *lines, tail = chunk.split(b"\n")
        if lines:
            lines[0] = (rest + lines[0])[:LONGEST_LINE]
            rest = tail
            yield [line.removesuffix(b"\r") for line in lines]
        else:
            rest = (rest + tail)[:LONGEST_LINE]
    if rest:
        yield [rest.removesuffix(b"\r")]
