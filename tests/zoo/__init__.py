"""The test zoo: tiny random decoders of many families, built offline, each in well under a second.

``FAMILIES`` states for each family which way of running it is exact in a left-padded batch. This was
measured: text in a cache without gradient, three embeddings with gradient on a forked copy of it, against
unpadded full passes, in fp32, to a relative 1e-5 in hidden states and gradient, for three seeds.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from zoo.base import VOCABULARY_SIZE, Family
from zoo.dense import DENSE, OTHER
from zoo.mixtures import LATENT_ATTENTION, MIXTURES
from zoo.recurrent import RECURRENT
from zoo.windowed import WINDOWED

__all__ = ["FAMILIES", "ROW_TEXTS", "VOCABULARY_SIZE", "WORDS", "Family", "build", "save", "tokenizer"]

FAMILIES: dict[str, Family] = DENSE | WINDOWED | MIXTURES | LATENT_ATTENTION | RECURRENT | OTHER

MATRIX_SCALE = 3.0
"""Fresh weights are so small that a wrong mask hardly shows; three times larger, it does."""

JITTER = 0.05
"""Spread added to norms and biases, so that a term that is dropped or applied twice shows too."""

SPECIALS = ("<s>", "</s>", "<pad>")
ALPHABET = "abcdefghijklmnopqrstuvwxyz \n.,:;!?'\"-"
WORDS = (
    "the to of and a in is it that for on as at an are be by been but he here there them then they this his "
    "has had have we was were with water cat can car dog do no not now so see said red two i"
).split()
"""Words that are one token in the default vocabulary, with the space before them."""

ROW_TEXTS = (
    "a red cat",
    "i see two cars in the water",
    "i had to be with them as they were by the water",
    "a cat that was in the water is now on the red car but they do not see it",
)
"""Texts of 3, 8, 12 and 19 tokens in the default vocabulary: one at, two beyond a window of 8."""


def build(family: Family, seed: int = 0) -> PreTrainedModel:
    """Build the causal language model of a family with seeded fp32 weights, in eval mode.

    Args:
        family: An entry of ``FAMILIES``.
        seed: The same seed gives the same weights; the global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.for_model(family.model_type, **family.config)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # A_log is the logarithm of a decay, not a weight: scaled, a state space forgets at once.
                if parameter.dim() > 1 and not name.endswith("A_log"):
                    parameter.mul_(MATRIX_SCALE)
                else:
                    parameter.add_(JITTER * torch.randn_like(parameter))
    return model.eval()


def tokenizer(vocabulary: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """Make a byte-level BPE tokenizer of single characters, words and their beginnings.

    Every merge adds one letter on the right of a word's beginning, so a listed word is one token and any
    other falls apart. Plain merges and no unknown token, because ``AutoTokenizer`` rebuilds the tokenizers of
    some model types from vocabulary and merges alone. A byte outside ``ALPHABET`` (a capital, a digit) is
    dropped.

    Args:
        vocabulary: Lower-case words, each one token where a space stands before it; default ``WORDS``.
            Two lists give two vocabularies that share the characters and the common beginnings.

    Raises:
        ValueError: If there are more than ``VOCABULARY_SIZE`` tokens.
    """
    letters = [
        pre_tokenizers.ByteLevel(use_regex=False, add_prefix_space=False).pre_tokenize_str(c)[0][0] for c in ALPHABET
    ]
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS if vocabulary is None else vocabulary:
        merges |= {("Ġ" + word[:end], word[end]): None for end in range(len(word))}
    tokens = [*SPECIALS, *letters, *(left + right for left, right in merges)]
    if len(tokens) > VOCABULARY_SIZE:
        raise ValueError(f"vocabulary: {len(tokens)} tokens, {VOCABULARY_SIZE} fit")
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def save(family: Family, folder: Path, *, seed: int = 0, vocabulary: Sequence[str] | None = None) -> Path:
    """Save model and tokenizer as a folder that ``from_pretrained`` reads back; return the folder."""
    build(family, seed).save_pretrained(folder)
    tokenizer(vocabulary).save_pretrained(folder)
    return folder
