"""Pairs of random tokens, for benchmarks that need no corpus."""

import numpy as np


class RandomPairs:
    """With the face of `corpus.prepared.Split`, and lengths like those of ChEBI-20 in the shipped tokenizer: SMILES of
    49 tokens in the median, texts of 142, both at most 256."""

    def __init__(self, rows: int, vocabulary: int, seed: int = 0):
        generator = np.random.default_rng(seed)
        smiles = np.clip(generator.lognormal(np.log(49), 0.62, rows), 5, 256).astype(int)
        text = np.clip(generator.lognormal(np.log(142), 0.43, rows), 20, 256).astype(int)
        self._smiles = [generator.integers(3, vocabulary, length).astype(np.int32) for length in smiles]
        self._text = [generator.integers(3, vocabulary, length).astype(np.int32) for length in text]
        self.smiles_length, self.text_length = smiles.astype(np.int32), text.astype(np.int32)
        self.molecule, self.spellings = np.arange(rows, dtype=np.int32), np.ones(rows, np.int32)

    def __len__(self) -> int:
        return len(self._text)

    def smiles_tokens(self, row: int, spelling: int = 0) -> np.ndarray:
        return self._smiles[row]

    def text_tokens(self, row: int) -> np.ndarray:
        return self._text[row]
