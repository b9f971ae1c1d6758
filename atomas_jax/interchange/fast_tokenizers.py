"""Our tokenizers as `tokenizer.json` files, which `transformers` reads without our code.

Of text, both kinds: the same unigram model. Where two segmentations have the same score SentencePiece and the
`tokenizers` library may choose differently (on ChEBI-20's test set: no caption, 50 of 3,300 SMILES in T5's pieces), as
with T5's own fast tokenizer. Of SMILES, kind atomwise: cut at atoms and looked up; a bracket atom that is not in the
vocabulary, which ours spells, becomes the unknown token.
"""

from sentencepiece import sentencepiece_model_pb2

from atomas_jax.tokens.smiles import PATTERN
from atomas_jax.tokens.tokenizer import MARK, SMILES_START, TEXT_START, Role, Tokenizer
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

_NEVER = -1e6
"""Score of pieces that text must not be cut into."""
_BLANK = "▁"


def text_tokenizer(tokenizer: Tokenizer) -> FastTokenizer:
    """Encodes texts (kind t5: SMILES too) and decodes both."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(tokenizer.model_bytes)
    atomwise = tokenizer.kind == "atomwise"
    writes_text = [role in (Role.TEXT, Role.BYTE) for role in tokenizer.roles]
    vocabulary = [(piece.piece, piece.score if text else _NEVER) for piece, text in zip(model.pieces, writes_text)]
    fast = FastTokenizer(models.Unigram(vocabulary, unk_id=tokenizer.unk_id, byte_fallback=atomwise))
    if model.normalizer_spec.precompiled_charsmap:
        fast.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    fast.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme="always", split=False)
    _ends(fast, tokenizer)
    fast.add_special_tokens(["<pad>", "</s>", "<unk>", TEXT_START, SMILES_START])  # for skip_special_tokens
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace(_BLANK, " "),
            decoders.Replace(Regex(f"^{MARK}+(?=.)"), ""),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return fast


def smiles_tokenizer(tokenizer: Tokenizer) -> FastTokenizer:
    """Encodes SMILES, kind atomwise."""
    pieces = {
        surface.decode(): i
        for i, (surface, role) in enumerate(zip(tokenizer.surfaces, tokenizer.roles))
        if role == Role.OUTER
    }
    special = {"<pad>": tokenizer.pad_id, "</s>": tokenizer.eos_id, "<unk>": tokenizer.unk_id}
    fast = FastTokenizer(models.WordLevel(special | pieces, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN.pattern), behavior="isolated")
    _ends(fast, tokenizer)
    fast.add_special_tokens(list(special))
    fast.decoder = decoders.Fuse()
    return fast


def _ends(fast: FastTokenizer, tokenizer: Tokenizer) -> None:
    fast.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.eos_id)]
    )


def settings() -> dict:
    """Content of the `tokenizer_config.json` beside either file."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
    }
