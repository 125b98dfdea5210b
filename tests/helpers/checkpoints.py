"""A checkpoint of every method that leaves one, with a readout and two training sets, on tiny decoders."""

from pathlib import Path

import torch

from helpers.parts import source_checkpoint
from helpers.run_parts import build
from helpers.tiny import Tiny
from transferkit.checkpoints.checkpoint import save
from transferkit.config.methods import MethodFacts, all_methods
from transferkit.methods.base import Embedder
from transferkit.readout.readout import Readout, Settings
from transferkit.runner.prepare import resolved

KINDS = [facts for facts in all_methods().values() if facts.kind is not None]
QUESTIONS, DOCUMENTS = "find the cat", "see"


def random_readout(width: int) -> Readout:
    """A map that turns and moves every vector."""
    made, noise = Readout(Settings("whiten", ridge=0.1), width), torch.Generator().manual_seed(7)
    made.mean.normal_(std=0.05, generator=noise)
    made.matrix.normal_(generator=noise)
    return made


def unlike_its_start(embedder: Embedder) -> None:
    """Give what learns other numbers: fresh adapters change nothing."""
    noise = torch.Generator().manual_seed(8)
    for parameter in (one for group in embedder.trainable().values() for one in group):
        parameter.data += 0.1 * torch.empty_like(parameter).normal_(generator=noise)


def one_of_each(tiny: Tiny, folder: Path) -> dict[str, Path]:
    """Method -> its checkpoint below ``folder``."""
    source = source_checkpoint(tiny, folder / "given", offsets=0.1)

    def made(facts: MethodFacts) -> Path:
        target = {"embedding": {"backbone": str(tiny.encoder)}} if facts.has_encoder else {}
        named = {"method": facts.name} if facts.task == "baseline" else {}
        start = source if facts.needs_source else None
        embedder = build(resolved(tiny.recipe(facts.task, **named, **target), source=start), source=start).eval()
        unlike_its_start(embedder)
        embedder.use_readout(random_readout(len(embedder.readout.mean)))
        save(
            embedder,
            folder / facts.name,
            instructions={"intents": QUESTIONS},
            document_instructions={"intents": DOCUMENTS},
        )
        return folder / facts.name

    return {facts.name: made(facts) for facts in KINDS}
