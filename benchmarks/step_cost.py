"""What one step costs beside the limit it should be near: one inference pass over the same texts.

    python benchmarks/step_cost.py --layers 8 --width 512 --batch-size 16 --length 128

Timed in turn, round by round, on random decoders, forward and backward pass without loss and optimizer: `embed` (no
gradient, the limit); an adapt step whose soft tokens were written before, as in every epoch but the first; one that
writes them, with a Prompting LLM of half the width and a quarter of the layers; the former as one full pass over text
and soft tokens; and a LoRA step. Printed are medians and their ratios to the limit.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from transferkit.config.sections import LoraSection
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import probe
from transferkit.decoder.reader import Reader
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.on_backbone import BackboneEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("layers", 8),
        ("width", 512),
        ("batch-size", 16),
        ("length", 128),
        ("rounds", 7),
        ("threads", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model-type", default="llama")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        decoder, prompting = Path(folder, "decoder"), Path(folder, "prompting")
        write_decoder(decoder, model_type=given.model_type, width=given.width, layers=given.layers)
        write_decoder(prompting, model_type=given.model_type, width=given.width // 2, layers=max(1, given.layers // 4))
        spec = probe(str(decoder))

        def load(template: str) -> Reader:
            return Reader(Decoder.load(spec), template, max_length=given.length, soft_tokens=5)

        cached, full, lora = load("{text}{soft}"), load("{text}{soft}"), load("{text}")
        full.decoder.exactness = replace(
            full.decoder.exactness, cached_errors=(1.0, 1.0)
        )  # sends every batch to the full pass
        texts = ["".join(chr(97 + (i * 7 + j) % 26) for j in range(given.length)) for i in range(given.batch_size)]
        frozen = FrozenEmbedder(load("{text}"), pooling="mean")
        ways: dict[str, Callable[[], None]] = {
            "embed, no gradient (the limit)": lambda: embed(frozen, texts),
            "adapt step, soft tokens kept": step(transfer(prompting, cached), texts),
            "adapt step, soft tokens written": step(transfer(prompting, cached), texts, forget=True),
            "adapt step, one full pass": step(transfer(prompting, full), texts),
            "LoRA step": step(LoraEmbedder.on(lora, pooling="mean", lora=LoraSection(), seed=0), texts),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(given.rounds + 1):
            for name, way in ways.items():
                started = perf_counter()
                way()
                if number:  # the first round warms up
                    seconds[name].append(perf_counter() - started)
    limit = next(iter(seconds.values()))
    print(
        f"{given.model_type}, {given.layers} x {given.width}, {given.batch_size} texts of {given.length} tokens, fp32"
    )
    for name, values in seconds.items():
        ratio = median(value / one for value, one in zip(values, limit, strict=True))
        print(f"{name:38s} {1000 * median(values):9.0f} ms   {ratio:5.2f} x the limit")


def embed(embedder: BackboneEmbedder, texts: list[str]) -> None:
    """One inference pass."""
    embedder.embed(texts, [""] * len(texts))


def transfer(prompting: Path, reader: Reader) -> PromptEmbedder:
    """A frozen Prompting LLM with W and offsets, as `adapt` trains them."""
    writer = Writer(PromptingLLM.load(str(prompting)))
    writer.freeze()
    weight = torch.randn(writer.prompting.width, reader.decoder.embedding_width) / writer.prompting.width**0.5
    return PromptEmbedder(writer, Alignment(weight, tokens=writer.prompting.tokens, offset=True), reader)


def step(embedder: BackboneEmbedder, texts: list[str], *, forget: bool = False) -> Callable[[], None]:
    """A forward and backward pass of ``embedder`` over ``texts``; with ``forget`` nothing is written before it."""
    parameters = [p for group in embedder.trainable().values() for p in group]

    def run() -> None:
        if forget and isinstance(embedder, PromptEmbedder):
            embedder.writer.freeze()  # with an empty memory
        vectors = embedder.embed(texts, [""] * len(texts))
        torch.autograd.grad((vectors * torch.ones_like(vectors).cumsum(1)).sum(), parameters)

    return run


def write_decoder(folder: Path, *, model_type: str, width: int, layers: int) -> None:
    """A random decoder whose tokenizer makes one token of a letter."""
    sizes = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
    }
    config = AutoConfig.for_model(model_type, vocab_size=64, max_position_embeddings=2048, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    letters = Tokenizer(models.BPE(vocab={chr(97 + i): i for i in range(26)}, merges=[]))
    letters.pre_tokenizer, letters.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="a").save_pretrained(folder)


if __name__ == "__main__":
    main()
