"""Files that appear whole or not at all."""

import json
import os
import tempfile
from pathlib import Path


def write_whole(path: str | Path, text: str) -> Path:
    """Write a text file so that a reader finds the old one or the new one, never a part; makes its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def write_json(path: str | Path, value) -> Path:
    """`value` as indented JSON, whole or not at all."""
    return write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
