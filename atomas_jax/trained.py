"""A trained model at hand: load a run folder, then caption, generate, embed and search."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from atomas_jax.config import Experiment, from_json
from atomas_jax.decoding.generate import Written
from atomas_jax.decoding.generate import generate as write
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import abstract_parameters
from atomas_jax.model.configuration import with_vocabulary
from atomas_jax.model.heads import Modality
from atomas_jax.retrieval.embeddings import embed
from atomas_jax.retrieval.search import Hits, nearest
from atomas_jax.run_folder import RunFolder
from atomas_jax.tokens.tokenizer import Tokenizer

Progress = Callable[[int], None]


class TrainedModel:
    """Weights, tokenizer and settings of a run. `load` makes one; everything it does is a method.

    Molecules are SMILES in any spelling, texts are plain strings; lists in, lists (or arrays) out, in the same order.
    """

    def __init__(self, experiment: Experiment, tokenizer: Tokenizer, params: dict, step: int | None = None):
        self.experiment, self.tokenizer, self.params = experiment, tokenizer, params
        self.step = step  # of training that the weights are of, where known
        self.config = with_vocabulary(experiment.model, tokenizer.vocab_size)

    def caption(self, molecules: Sequence[str], **settings) -> list[str] | list[list[str]]:
        """A text for each SMILES. Keyword arguments override `DecodingConfig`, as in `caption(m, method="beam")`; with
        `results` above 1 each entry is a list."""
        return self._collect(self.write_captions(molecules, **settings), settings)

    def generate(self, texts: Sequence[str], **settings) -> list[str] | list[list[str]]:
        """A SMILES for each text; keyword arguments as `caption`. What is written may be no molecule."""
        return self._collect(self.write_molecules(texts, **settings), settings)

    def embed_molecules(self, molecules: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """Unit vectors float32 [N, E] in the space shared with text."""
        return self._embed("smiles", molecules, self.tokenizer.encode_smiles, progress)

    def embed_text(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """Unit vectors float32 [N, E] in the space shared with molecules."""
        return self._embed("text", texts, self.tokenizer.encode_text, progress)

    def find_molecules(
        self, texts: Sequence[str], library: Sequence[str], k: int = 10, progress: Progress | None = None
    ) -> Hits:
        """The k molecules of a library nearest to each text: indices and cosines, [N, k]. `progress` is called with
        the number of strings, queries and library, embedded since its last call."""
        _check_positive("k", k)
        return nearest(self.embed_text(texts, progress), self.embed_molecules(library, progress), k)

    def find_texts(
        self, molecules: Sequence[str], library: Sequence[str], k: int = 10, progress: Progress | None = None
    ) -> Hits:
        """The k texts of a library nearest to each molecule: indices and cosines, [N, k]. `progress` as in
        `find_molecules`."""
        _check_positive("k", k)
        return nearest(self.embed_molecules(molecules, progress), self.embed_text(library, progress), k)

    def write_captions(
        self, molecules: Iterable[str], progress: Progress | None = None, **settings
    ) -> Iterator[list[str]]:
        """`caption`, one list of results at a time, reading molecules as they are needed: for long lists."""
        inputs = self._encoded(molecules, self.tokenizer.encode_smiles, "molecule")
        for written in self._write(inputs, self.tokenizer.text_start_id, self.tokenizer.text_ids, progress, settings):
            yield [self.tokenizer.decode_text(tokens) for tokens in written.tokens]

    def write_molecules(
        self, texts: Iterable[str], progress: Progress | None = None, **settings
    ) -> Iterator[list[str]]:
        """`generate`, one list of results at a time, reading texts as they are needed: for long lists."""
        inputs = self._encoded(texts, self.tokenizer.encode_text, "text")
        for written in self._write(
            inputs, self.tokenizer.smiles_start_id, self.tokenizer.smiles_ids, progress, settings
        ):
            yield [self.tokenizer.decode_smiles(tokens) for tokens in written.tokens]

    @cached_property
    def parameter_count(self) -> int:
        """Numbers learned."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def _write(self, inputs, start_id: int, allowed: np.ndarray, progress, settings: dict) -> Iterator[Written]:
        batch_size = settings.pop("batch_size", 64)
        _check_positive("batch_size", batch_size)
        decoding = self.decoding(**settings)
        transformer = self.params["transformer"]
        return write(
            transformer, self.config.transformer, inputs, decoding,
            start_id=start_id, allowed=allowed, batch_size=batch_size, on_progress=progress,
        )  # fmt: skip

    def decoding(self, **settings) -> DecodingConfig:
        """The run's decoding settings with some replaced. Raises UserError on a name that is none."""
        known = DecodingConfig.__dataclass_fields__
        if unknown := [name for name in settings if name not in known]:
            raise UserError(f"no decoding setting {unknown[0]!r}: choose among {', '.join(known)}")
        return replace(self.experiment.decoding, **settings)

    def _collect(self, results: Iterator[list[str]], settings: dict) -> list:
        single = settings.get("results", self.experiment.decoding.results) == 1
        return [written[0] if single else written for written in results]

    def _embed(self, modality: Modality, strings: Sequence[str], encode, progress) -> np.ndarray:
        tokens = list(self._encoded(strings, encode, "molecule" if modality == "smiles" else "text"))
        return embed(self.params, self.config, modality, tokens, on_progress=progress)

    def _encoded(self, strings: Iterable[str], encode, what: str) -> Iterator[list[int]]:
        if isinstance(strings, str):
            raise UserError(f"a list of {what}s is wanted, not one string: write [{strings[:30]!r}]")
        for position, string in enumerate(strings):
            if not isinstance(string, str) or not string.strip():
                raise UserError(f"{what} {position} (counted from 0) is empty or no string: {string!r}")
            yield encode(string)


def load(run: str | Path, checkpoint: str = "best") -> TrainedModel:
    """The model of a run folder.

    Args:
      run: the folder `atomas train` wrote.
      checkpoint: "best" by the run's validation metric, "latest", or a step that was kept.

    Raises:
      UserError: not a run folder, a part of it missing or damaged, no such checkpoint.
    """
    from atomas_jax.training.checkpoints import load_weights

    folder = RunFolder(run)
    experiment = from_json(folder.read_config(), str(folder.config))
    tokenizer = Tokenizer.load(folder.tokenizer)
    config = with_vocabulary(experiment.model, tokenizer.vocab_size)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), abstract_parameters(config)
    )
    params, step = load_weights(folder, checkpoint, like)
    return TrainedModel(experiment, tokenizer, params, step)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} is {value}: want 1 or more")
