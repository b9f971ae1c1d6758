"""A trained model at hand: load a run folder, then caption, generate, embed and search."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from atomas_jax.config import Experiment, from_json
from atomas_jax.decoding.answers import LOT, LOTS, Answer, Chooser
from atomas_jax.decoding.constraint import Constraint
from atomas_jax.decoding.generate import WINDOW, DecoderWeights, generate
from atomas_jax.decoding.rerank import agreement
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.decoding.steering import Steering
from atomas_jax.decoding.validity import smiles_validity
from atomas_jax.decoding.validity_allowed import RESERVE
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import abstract_parameters
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
        self.config = experiment.model

    def caption(self, molecules: Sequence[str], **settings) -> list[str] | list[list[str]]:
        """A text for each SMILES. Keyword arguments override `DecodingConfig`, as in `caption(m, method="beam")`; with
        `results` above 1 each entry is a list."""
        return self._collect(self.write_captions(molecules, **settings), settings)

    def generate(self, texts: Sequence[str], **settings) -> list[str] | list[list[str]]:
        """A SMILES for each text; keyword arguments as `caption`, and `steering`, what is asked of the molecules:
        `generate(texts, steering=Steering(formula="C9H8O4", budget=1000))`."""
        return self._collect(self.write_molecules(texts, **settings), settings)

    def embed_molecules(self, molecules: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """Unit vectors float32 [N, E] in the space shared with text."""
        return self._embed("smiles", molecules, self.tokenizer.encode_smiles, progress)

    def embed_text(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """Unit vectors float32 [N, E] in the space shared with molecules."""
        return self._embed("text", texts, self.tokenizer.encode_text, progress)

    def encode(
        self, strings: Sequence[str], kind: Literal["text", "molecule"] = "text", progress: Progress | None = None
    ) -> np.ndarray:
        """Unit vectors float32 [N, E] of texts or of molecules: the call that retrieval tools make of a model."""
        if kind not in ("text", "molecule"):
            raise UserError(f"kind is {kind!r}: want text or molecule")
        return (self.embed_text if kind == "text" else self.embed_molecules)(strings, progress)

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
        for answers in self.answers("caption", molecules, progress, **settings):
            yield [answer.string for answer in answers]

    def write_molecules(
        self, texts: Iterable[str], progress: Progress | None = None, **settings
    ) -> Iterator[list[str]]:
        """`generate`, one list of results at a time, reading texts as they are needed: for long lists."""
        for answers in self.answers("generate", texts, progress, **settings):
            yield [answer.string for answer in answers]

    def answers(
        self,
        task: Literal["caption", "generate"],
        inputs: Iterable[str],
        progress: Progress | None = None,
        *,
        numbers: Iterable[int] | None = None,
        prefix: Sequence[int] = (),
        constraint: Constraint | None = None,
        accept: Callable[[str], bool] | None = None,
        steering: Steering | None = None,
        window: int = WINDOW,
        batch_size: int = 64,
        **settings,
    ) -> Iterator[list[Answer]]:
        """Captions of molecules or molecules of texts with their log-probabilities, one list an input, streaming.

        Args:
          progress: called with the number of inputs written since its last call.
          numbers: name the inputs' random numbers, 0, 1, 2 ... by themselves: a list continued at its place n with
            `numbers=itertools.count(n)` draws what the whole list would have.
          prefix: token ids that every string starts with.
          constraint: what may follow what, inside the compiled loop; None leaves it to the setting `constrained`.
          accept: what else a string must be to be given, beside valid; refused ones are replaced likewise.
          steering: what a chemist asks of molecules; how many strings it took is in every answer (`tried`).
          window: batches sorted by length together at most; 1 gives the results of a slow stream batch by batch.
          settings: override the run's `DecodingConfig`.
        """
        _check_positive("batch_size", batch_size)
        decoding, molecules = self.decoding(**settings), task == "generate"
        _check_list(inputs, "text" if molecules else "molecule")
        tokenizer, config = self.tokenizer, self.config.transformer
        may_constrain = constraint is None and molecules and tokenizer.kind == "atomwise"
        encode = tokenizer.encode_text if molecules else tokenizer.encode_smiles
        accept = _both(_molecule_check(), accept) if molecules and decoding.valid else accept
        if steering is not None:
            if not molecules:
                raise UserError("steering is for molecules: captions take none")
            accept = _both(accept, steering.check())
            prefix = prefix or self._prefix(steering.prefix)
        if decoding.method == "beam" and (accept or decoding.rerank != "none"):
            decoding = replace(decoding, candidates=decoding.beams)
        if steering is not None and steering.budget < decoding.written:
            raise UserError(f"budget is {steering.budget}, {decoding.written} strings are written at first: raise it")
        if constraint is None:
            self.check(task, decoding, prefix)

        def write(strings, numbers, chosen, on_progress=None, samples=None):
            # further samples always come in the same number, so that one program is compiled
            tokens = self._encoded(strings, encode, "text" if molecules else "molecule")
            rules = self._validity(chosen.max_length) if may_constrain and chosen.constrained else constraint
            together = batch_size if samples is None else LOTS
            return generate(
                self._decoder, config, tokens, chosen,
                start_id=tokenizer.smiles_start_id if molecules else tokenizer.text_start_id,
                allowed=tokenizer.smiles_ids if molecules else tokenizer.text_ids,
                constraint=rules,
                prefix=prefix, numbers=numbers, samples=samples, window=window, batch_size=together,
                on_progress=on_progress,
            )  # fmt: skip

        def agree(pairs):
            sides = list(zip(*(pair if not molecules else pair[::-1] for pair in pairs), strict=True))
            smiles, texts = map(tokenizer.encode_smiles, sides[0]), map(tokenizer.encode_text, sides[1])
            return agreement(self.params, self.config, list(smiles), list(texts), decoding.rerank, batch_size)

        # on a budget what takes time is the further samples; ranked answers are given as soon as they can be
        group = batch_size if steering is None else max(1, batch_size // LOT)
        largest = window * batch_size if steering is None and decoding.rerank == "none" else group
        return Chooser(
            decoding,
            write,
            tokenizer.decode_smiles if molecules else tokenizer.decode_text,
            accept,
            agree if decoding.rerank != "none" else None,
            steering.budget if steering else None,
        ).answers(inputs, count() if numbers is None else numbers, group, largest, progress)

    def check(self, task: Literal["caption", "generate"], decoding: DecodingConfig, prefix: Sequence[int] = ()) -> None:
        """Raises UserError where the validity constraint leaves nothing to write: too few tokens, a prefix of what it
        never writes. `answers` asks so before anything is written."""
        if task != "generate" or self.tokenizer.kind != "atomwise" or not decoding.constrained:
            return
        room = decoding.max_length - len(prefix)
        if room < RESERVE:
            raise UserError(f"max_length leaves {room} tokens, {RESERVE} are kept for completing a SMILES: raise it")
        if unknown := self._validity(decoding.max_length).never_written(prefix):
            piece = self.tokenizer.decode_smiles(unknown[:1])
            raise UserError(f"the prefix holds {piece!r}, which the constraint never writes: set constrained False")

    def _validity(self, length: int) -> Constraint:
        """The constraint for strings of so many tokens, of which there are one or more an atom and one ends it."""
        if length not in self._constraints:
            self._constraints[length] = smiles_validity(self.tokenizer, atoms=length)
        return self._constraints[length]

    @cached_property
    def _decoder(self) -> DecoderWeights:
        return DecoderWeights(self.params["transformer"])

    @cached_property
    def _constraints(self) -> dict[int, Constraint]:
        return {}

    def _prefix(self, smiles: str) -> list[int]:
        """Token ids of the beginning of a SMILES. Raises UserError where the tokenizer cannot write it."""
        tokens = self.tokenizer.encode_prefix(smiles) if smiles else []
        if (smiles and smiles.split() != [smiles]) or self.tokenizer.decode_smiles(tokens) != smiles:
            raise UserError(f"the prefix {smiles!r} is no beginning of a SMILES")
        return tokens

    @cached_property
    def parameter_count(self) -> int:
        """Numbers learned."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

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
        _check_list(strings, what)
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
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        abstract_parameters(experiment.model),
    )
    params, step = load_weights(folder, checkpoint, like)
    return TrainedModel(experiment, tokenizer, params, step)


def _molecule_check() -> Callable[[str], bool] | None:
    """Whether RDKit reads a string; None, said once, where it is not installed."""
    try:
        from atomas_jax.chemistry.molecules import is_valid
    except ModuleNotFoundError as missing:
        warnings.warn(f"molecules are not checked: {missing.name} is not installed", stacklevel=2)
        return None
    return is_valid


def _both(one: Callable[[str], bool] | None, other: Callable[[str], bool] | None) -> Callable[[str], bool] | None:
    if one is None or other is None:
        return one or other
    return lambda string: one(string) and other(string)


def _check_list(strings: Iterable[str], what: str) -> None:
    if isinstance(strings, str):
        raise UserError(f"a list of {what}s is wanted, not one string: write [{strings[:30]!r}]")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} is {value}: want 1 or more")
