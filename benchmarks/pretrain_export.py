"""From trained weights to a model folder: held-out bits per byte, Hugging Face files, model card."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from pretrain_ngram import ngram_bits_per_byte
from pretrain_text import TextConfig, Windows, heldout_windows
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from transferkit.errors import RunError
from transferkit.files.json import write_text

_PROBE = "In 1984, a naïve café's 12 customers\tsaid:\n\n  “don't”... <b>x_y</b> 东京 🙂 THE END \n"
_BATCH = 32  # windows a forward pass when measuring
_SAMPLE_TOKENS = 40
_TEMPERATURE = 0.8


@torch.no_grad()
def bits_per_byte(model: PreTrainedModel, windows: np.ndarray, *, byte_count: int) -> float:
    """Bits that the model needs for one byte of text; every window is read on its own.

    Args:
        model: The decoder.
        windows: Inputs and targets, shape (2, n, context).
        byte_count: UTF-8 bytes of the targets' text.
    """
    nats, training = 0.0, model.training
    model.eval()
    inputs, targets = torch.from_numpy(windows[0]), torch.from_numpy(windows[1])
    for start in range(0, len(inputs), _BATCH):
        logits = model(input_ids=inputs[start : start + _BATCH], use_cache=False).logits.float()
        goal = targets[start : start + _BATCH].flatten()
        nats += torch.nn.functional.cross_entropy(logits.flatten(0, 1), goal, reduction="sum").item()
    model.train(training)
    return nats / math.log(2) / byte_count


def write_folder(model: PreTrainedModel, work: Path, out: Path, *, text: TextConfig) -> None:
    """Write config, bf16 weights and tokenizer for both Auto classes; check that the vocabulary survives.

    Raises:
        RunError: The reloaded tokenizer reads a text differently.
    """
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    trained = Tokenizer.from_file(str(work / "tokenizer.json"))
    names = {"eos_token": text.eos, "pad_token": text.pad} | ({"bos_token": text.bos} if text.bos else {})
    limit = model.config.get_text_config().max_position_embeddings
    wrapped = PreTrainedTokenizerFast(tokenizer_object=trained, model_max_length=limit, **names)
    wrapped.save_pretrained(beside)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    copy = AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16)
    copy.load_state_dict(weights)
    copy.save_pretrained(beside)
    loaded = AutoTokenizer.from_pretrained(beside)
    expected = trained.encode(_PROBE, add_special_tokens=False).ids
    got = loaded(_PROBE, add_special_tokens=False)["input_ids"]
    if got != expected or len(loaded) != text.vocab_size or loaded.decode(got) != _PROBE:
        raise RunError(
            f"{beside}: AutoTokenizer gives {type(loaded).__name__} with {len(loaded)} tokens, which does not"
            f" read as the trained vocabulary of {text.vocab_size}; name special tokens as the family does"
        )
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)


@torch.no_grad()
def _samples(model: PreTrainedModel, work: Path, *, text: TextConfig, prompts: list[str], temperature: float) -> str:
    """Markdown of one continuation a prompt, up to the end of the document; greedy at temperature 0."""
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    opening = [] if text.bos is None else tokenizer.encode(text.bos, add_special_tokens=False).ids
    generator = torch.Generator().manual_seed(0)
    quoted = ""
    for prompt in prompts:
        ids = opening + tokenizer.encode(prompt, add_special_tokens=False).ids
        for _ in range(_SAMPLE_TOKENS):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            if temperature > 0:
                chosen = torch.multinomial((logits / temperature).softmax(0), 1, generator=generator)
            else:
                chosen = logits.argmax()
            ids.append(int(chosen))
            if ids[-1] == tokenizer.token_to_id(text.eos):
                break
        quoted += f"````text\n{tokenizer.decode(ids)}\n````\n"  # four: a sample may hold a fence of three
    return quoted


# Of the files that recipes name: their texts' licences, for the model card.
LICENCES = {
    "arxiv_abstracts": "CC0",
    "dialogues": "CC-BY-SA-4.0, CC-BY-4.0",
    "heldout_wikitext2": "CC-BY-SA-3.0",
    "masc": "free for any use",
    "openstax": "CC-BY-4.0",
    "peps": "public domain",
    "standard_ebooks": "CC0",
    "tech_docs": "MIT, Apache-2.0, CC-BY, CC-BY-SA",
    "us_gov_web": "public domain",
    "us_presidential_speeches": "public domain",
    "wikipedia_en_sample": "CC-BY-SA-3.0",
    "world_factbook": "public domain",
}


def _licence(stem: str) -> str:
    return LICENCES.get(stem, "not stated")


def _card(
    model: PreTrainedModel,
    rows: list[dict[str, float]],
    *,
    name: str,
    text: TextConfig,
    bits: float,
    ngram_bits: float,
) -> str:
    """Model card up to the samples."""
    last, config = rows[-1], model.config
    measured = [row for row in rows if "heldout_bits_per_byte" in row]
    total = sum(text.weights.values())
    curve = "".join(f"| {r['tokens']:,} | {r['loss']:.3f} | {r['heldout_bits_per_byte']:.3f} |\n" for r in measured)
    shares = "".join(f"| {stem} | {weight / total:.1%} | {_licence(stem)} |\n" for stem, weight in text.weights.items())
    embedding = next(model.get_input_embeddings().parameters()).numel()
    bos = "none" if text.bos is None else f"`{text.bos}`, first in every window; the tokenizer does not add it itself"
    return f"""# {name}

A small `{config.model_type}` decoder with a byte-level BPE vocabulary of its own, pretrained from random
weights by `benchmarks/pretrain.py` with `benchmarks/pretrain/{name}.yaml`: that file is `pretrain.yaml` here, and
`pretrain.jsonl` is the log of the training. It is made for tests, demos and comparisons of methods, not for writing
text.

| | |
| --- | --- |
| parameters | {model.num_parameters():,}, of which {embedding:,} embedding (tied with the output) |
| width x layers | {config.hidden_size} x {config.num_hidden_layers} |
| vocabulary | {text.vocab_size:,} |
| trained with a context of | {text.context} tokens |
| BOS token | {bos} |
| EOS, padding token | `{text.eos}`, `{text.pad}` |
| tokens seen | {last["tokens"]:,.0f} |
| training time, one CPU thread | {last["train_seconds"] / 60:.0f} minutes |
| held-out bits per byte, bf16, all of {text.heldout} | {bits:.3f} |
| 5-gram model (modified Kneser-Ney) trained on the same tokens | {ngram_bits:.3f} bits per byte |

The 5-gram model (`benchmarks/pretrain_ngram.py`) has the same vocabulary, the same training windows and the same
held-out windows; a decoder that needs fewer bits has learned more than which few tokens follow which.

## Training text

| file | share of the tokens | licence of the text |
| --- | --- | --- |
{shares}
The held-out text, {text.heldout} ({_licence(text.heldout)}), was not trained on.

## Curve

Held-out bits per byte on the first {text.heldout_bytes:,} bytes of {text.heldout}, float32.

| tokens seen | training loss, nats a token | held-out bits per byte |
| --- | --- | --- |
{curve}"""


def export(
    model: PreTrainedModel, work: Path, *, recipe_file: Path, text: TextConfig, prompts: list[str], training: Windows
) -> Path:
    """Write ``work/model`` with its card, recipe and log; it is measured on the weights as reloaded from there.

    Args:
        model: The trained decoder.
        work: Folder that it was trained in.
        recipe_file: YAML file of the recipe; its stem is the model's name.
        text: The recipe's text.
        prompts: What the card's samples continue.
        training: Windows that the model was trained on.
    """
    out = work / "model"
    write_folder(model, work, out, text=text)
    reloaded = AutoModelForCausalLM.from_pretrained(out).float().eval()
    windows, byte_count = heldout_windows(work, text=text, everything=True)
    bits = bits_per_byte(reloaded, windows, byte_count=byte_count)
    ngram_bits = ngram_bits_per_byte(training, windows, vocab_size=text.vocab_size, byte_count=byte_count)
    log = (work / "log.jsonl").read_text()
    rows = [json.loads(row) for row in log.splitlines()]
    card = _card(reloaded, rows, name=recipe_file.stem, text=text, bits=bits, ngram_bits=ngram_bits)
    greedy = _samples(reloaded, work, text=text, prompts=prompts, temperature=0.0)
    sampled = _samples(reloaded, work, text=text, prompts=prompts, temperature=_TEMPERATURE)
    write_text(out / "pretrain.jsonl", log)
    write_text(out / "pretrain.yaml", recipe_file.read_text(encoding="utf-8"))
    write_text(
        out / "card.md",
        f"{card}\n## Greedy samples\n\n{greedy}\n## Samples at temperature {_TEMPERATURE}\n\n{sampled}",
    )
    return out
