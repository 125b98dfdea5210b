"""Carry an embedding skill, trained once in a small Prompting LLM, to any frozen decoder.

The public names are loaded on first use, so that ``import transferkit`` costs nothing and what only reads
specs, recipes, records and tables never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.bridges.build import Bridge, bridge
    from transferkit.checkpoints.checkpoint import load
    from transferkit.config.recipe import Recipe
    from transferkit.config.recipes import list_recipes, read_recipe
    from transferkit.config.specs import BackboneSpec, find_spec, list_backbones
    from transferkit.convergence import compare
    from transferkit.decoder.decoder import Decoder
    from transferkit.decoder.reader import Reader
    from transferkit.errors import ConfigError, RunError
    from transferkit.exports.export import export
    from transferkit.methods.base import Embedder
    from transferkit.methods.transfer import PromptEmbedder
    from transferkit.runner.functions import adapt, baseline, train
    from transferkit.runs.folder import Run, read_run

__version__ = "0.1.0"

__all__ = [
    "BackboneSpec",
    "Bridge",
    "ConfigError",
    "Decoder",
    "Embedder",
    "PromptEmbedder",
    "Reader",
    "Recipe",
    "Run",
    "RunError",
    "__version__",
    "adapt",
    "baseline",
    "bridge",
    "compare",
    "export",
    "find_spec",
    "list_backbones",
    "list_recipes",
    "load",
    "read_recipe",
    "read_run",
    "train",
]

_HOME = {
    "BackboneSpec": "config.specs",
    "Bridge": "bridges.build",
    "ConfigError": "errors",
    "Decoder": "decoder.decoder",
    "Embedder": "methods.base",
    "Reader": "decoder.reader",
    "PromptEmbedder": "methods.transfer",
    "Recipe": "config.recipe",
    "Run": "runs.folder",
    "RunError": "errors",
    "adapt": "runner.functions",
    "baseline": "runner.functions",
    "bridge": "bridges.build",
    "compare": "convergence",
    "export": "exports.export",
    "find_spec": "config.specs",
    "list_backbones": "config.specs",
    "list_recipes": "config.recipes",
    "load": "checkpoints.checkpoint",
    "read_recipe": "config.recipes",
    "read_run": "runs.folder",
    "train": "runner.functions",
}


# Hidden from type checkers, which would otherwise accept every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The public name, from the module that defines it.

        Raises:
            AttributeError: the name is not public.
        """
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
