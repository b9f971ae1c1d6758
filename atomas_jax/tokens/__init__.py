"""Text and SMILES to ids and back, without loss: tokenizers, their training, and what they do to a user's strings."""

from atomas_jax.tokens.tokenizer import Role, Tokenizer

__all__ = ["Role", "Tokenizer"]
