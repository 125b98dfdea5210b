"""Template ``auto``: which of the named ones, and of short variations of the best, a decoder is read best behind.

Nothing is trained: a candidate costs one pass over the texts that choose, its readout a closed form. The choice is made
where training starts, with the soft tokens that a source writes or with none, so every method makes its own.
"""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from transferkit.config.resolve import ResolvedRecipe, behind
from transferkit.config.template import AUTO, template_name, templates_to_try, variations
from transferkit.data.dev_set import DevSetData
from transferkit.data.training_sets import TrainingData
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder
from transferkit.progress import Work, say
from transferkit.training.distributed import from_main
from transferkit.training.scoring import Scorer

_SAMPLE = 400  # training texts that the readout of a candidate is fitted on: enough to tell templates apart


@dataclass(frozen=True)
class Chosen:
    """The best template, and the score of each on the rows that choose, for the record."""

    template: str
    tried: dict[str, float]


def leaves_template_open(recipe: ResolvedRecipe) -> bool:
    """Whether a template is to be chosen before anything can be built for good."""
    return recipe.spec is not None and recipe.embedding.template == AUTO


def candidates(recipe: ResolvedRecipe) -> list[str]:
    """The first round: what a recipe's method may be read behind."""
    return templates_to_try(soft=recipe.facts.soft_tokens)


def choose_template(
    recipe: ResolvedRecipe, embedder: Embedder, data: TrainingData, dev_sets: list[DevSetData], console: Console
) -> Chosen:
    """Try every named template, then variations of the best; of equally good ones the first stays.

    Args:
        recipe: whose template is open.
        embedder: its method behind any template, before its first step.
        data: gives the sample of the readouts.
        dev_sets: of them, the rows that choose.
        console: says what each is worth.

    Raises:
        ConfigError: a set that chooses has no score yet.
    """
    selecting = [dev for dev in dev_sets if dev.select]
    for dev in selecting:
        if dev.kind == "texts":
            raise ConfigError(
                f"embedding.template: auto is chosen before a teacher has read {dev.name!r}, so that set cannot choose "
                "it; name a template (`transferkit templates`), or take a recipe with a labelled set below data.dev"
            )
    scorer = Scorer(
        [dev.choosing_rows() for dev in selecting],
        sample=data.sample_with_pairs(min(_SAMPLE, recipe.readout.sample), recipe.seed),
        readout=recipe.readout,
        batch_size=recipe.eval.batch_size,
    )
    tried: dict[str, float] = {}

    def attempt(templates: list[str]) -> str:
        for template in templates:
            reading = behind(recipe, template).reading
            name = template_name(reading.template, soft=True)
            if reading.template in tried:
                continue
            try:
                view = embedder.reread(template=reading.template, pooling=reading.pooling)
            except ConfigError as error:  # it leaves no room for text in a short context
                say(f"template left out  {name}: {error}", console)
                continue
            with Work(console, f"template  {name}", total=scorer.texts):
                tried[reading.template] = scorer(view).choosing_score
            say(
                f"template  {tried[reading.template]:5.1f} on the rows that choose  {reading.pooling:<6}  {name}",
                console,
            )
        return max(tried, key=lambda one: tried[one])

    best = attempt(candidates(recipe))
    best = attempt(variations(best))
    return from_main(Chosen(best, tried))


def choice_facts(chosen: Chosen, asked: ResolvedRecipe) -> dict[str, Any]:
    """For the record: what was asked for, by which runs of one recipe know each other, and what was tried."""
    return {"asked": {"template": AUTO, "pooling": asked.embedding.pooling}, "tried": chosen.tried}
