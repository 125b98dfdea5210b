"""Paraphrase prompts: data with a source each. The bundled ones are ``prompts.yaml`` beside this file."""

from pathlib import Path

from pydantic import Field, field_validator

from transferkit.config.schema import Strict, parse, read_yaml
from transferkit.errors import ConfigError, did_you_mean

PLACE = "{text}"
_BUNDLED = Path(__file__).with_name("prompts.yaml")


class ParaphrasePrompt(Strict):
    """One way of asking, for models with a chat template and for those without."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1, description="where it comes from")
    chat: str = Field(description="the user's message")
    completion: str = Field(description="what the model goes on with, up to the end of the line")

    @field_validator("chat", "completion")
    @classmethod
    def _text_once(cls, prompt: str) -> str:
        if prompt.count(PLACE) != 1:
            raise ValueError(f"needs {PLACE} exactly once, got it {prompt.count(PLACE)} times")
        return prompt


class _PromptFile(Strict):
    prompts: list[ParaphrasePrompt] = Field(min_length=1)

    @field_validator("prompts")
    @classmethod
    def _names_differ(cls, prompts: list[ParaphrasePrompt]) -> list[ParaphrasePrompt]:
        names = [prompt.name for prompt in prompts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is used twice")
        return prompts


def read_prompts(file: Path | None = None, *, names: list[str] | None = None) -> list[ParaphrasePrompt]:
    """The prompts of a file, all or those called ``names``, in the file's order.

    Args:
        file: a file like ``prompts.yaml``; None: the bundled ones.
        names: None or empty: all.

    Raises:
        ConfigError: a malformed file, or a name that is not in it.
    """
    place = file or _BUNDLED
    prompts = parse(_PromptFile, read_yaml(place), where=str(place)).prompts
    known = [prompt.name for prompt in prompts]
    for name in names or []:
        if name not in known:
            raise ConfigError(
                f"--prompt {name}: no such prompt{did_you_mean(name, known)} (there are {', '.join(known)}; --prompts "
                "names another file of them)"
            )
    return [prompt for prompt in prompts if not names or prompt.name in names]
