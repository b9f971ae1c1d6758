"""What an exported folder holds beside what `transformers` knows, by name, and how trees become tables of tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

TOKENIZER = "atomas_tokenizer"
"""Folder of our own tokenizer."""
ALIGNMENT = "alignment.safetensors"
"""The alignment heads, by dotted names."""
ATOMAS = "atomas"
"""Key of config.json: our settings that are no T5's."""


def flatten(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(dotted name, array) of every leaf."""
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, np.asarray(value)


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The tree of dotted names."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return tree
