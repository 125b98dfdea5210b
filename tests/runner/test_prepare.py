"""What a recipe becomes with its source beside it."""

from pathlib import Path

from helpers.parts import prompt_embedder
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import save
from transferkit.runner.prepare import resolved
from transferkit.runs.checkpoint_folder import read_description


def test_the_prompting_llm_alone_is_the_sources_own_whatever_the_recipe_says(tiny: Tiny, tmp_path: Path) -> None:
    save(prompt_embedder(tiny), tmp_path / "source", instructions={})
    own = read_description(tmp_path / "source")["prompting"]
    assert own.pop("precision") == "float32"  # the whole recipe's, not this section's
    other = {"tau": 0.5, "tokens": own["tokens"] + 1, "max_length": own["max_length"] - 1}
    recipe = tiny.recipe("baseline", method="prompting-llm-alone", prompting=other)
    found = resolved(recipe, source=tmp_path / "source")
    assert found.prompting.model_dump(include=set(own)) == own
    carried = resolved(tiny.recipe("adapt", prompting=other), source=tmp_path / "source")
    assert carried.prompting.model_dump(include=set(own)) == own | other
