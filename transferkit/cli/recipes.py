"""``recipes list | show | copy | new | check``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.progress import say

app = typer.Typer(help="The recipes: everything a run is decided by.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """All built-in recipes."""
    from transferkit.config.recipes import list_recipes

    print("\n".join(list_recipes()))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Built-in name or .yaml file.")]) -> None:
    """The whole text of a recipe, with what its base says."""
    from transferkit.config.recipe_text import whole_text
    from transferkit.config.recipes import read_recipe, recipe_path

    read_recipe(name)
    print(whole_text(recipe_path(name)), end="")


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Built-in name or .yaml file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override; repeatable.")] = None,
) -> None:
    """Check a recipe and print it with every default filled in."""
    from transferkit.config.recipe import recipe_yaml
    from transferkit.config.recipes import read_recipe

    print(recipe_yaml(read_recipe(name, overrides=set_)), end="", flush=True)  # the verdict comes after it
    verdict = f"{name}: valid; data files are not opened here, --dry-run of its command does that"
    say(verdict, Console(stderr=True))


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Built-in recipe (qwen3/adapt) or family (qwen3).")],
    to: Annotated[Path, typer.Option("--to", help="Folder to copy into.")] = Path("recipes"),
) -> None:
    """Copy built-in recipes to edit them, each whole."""
    from transferkit.config.recipe_files import copy_recipe

    print(copy_recipe(name, to))


@app.command()
def new(
    family: Annotated[str, typer.Option("--family", help="Name of the new family.")],
    backbone: Annotated[
        str, typer.Option("--backbone", help="Registry name, folder, .gguf file or hub id of its decoder.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder in which <family>/ is made.")] = Path("recipes"),
) -> None:
    """Write train, adapt and baseline recipes for a new model family."""
    from transferkit.config.recipe_files import new_family

    for path in new_family(family, backbone=backbone, target=to):
        print(path)
