"""``backbones``, ``templates`` and ``recipes``: decoders, prompt templates and recipes that have a name."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from transferkit.progress import plain, say

backbones = typer.Typer(help="The registry of decoders.", no_args_is_help=True)
recipes = typer.Typer(help="The recipes: everything a run is decided by.", no_args_is_help=True)


@backbones.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """All built-in backbones."""
    from transferkit.config.specs import all_specs

    specs = all_specs()
    if json:
        for spec in specs:
            print(spec.model_dump_json(exclude_none=True))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("name", no_wrap=True)  # what other commands are given, so never cut; the others fold
    for column in ("family", "where", "width", "layers", "licence"):
        table.add_column(column, overflow="fold")
    for spec in specs:
        cells = (spec.name, spec.family, spec.where, spec.hidden_size, spec.num_layers or "", spec.license or "")
        table.add_row(*map(plain, cells))
    Console().print(table)


@backbones.command()
def show(
    name: Annotated[str, typer.Argument(help="Registry name, .yaml file, local folder, .gguf file or hub id.")],
) -> None:
    """One backbone's spec as YAML."""
    if name.endswith(".yaml"):
        from transferkit.config.specs import find_spec as find
    else:
        from transferkit.config.specs import list_backbones

        if name in list_backbones():
            from transferkit.config.specs import find_spec as find
        else:
            from transferkit.request.named import check_decoder

            check_decoder(name)
            from transferkit.decoder.probe import resolve as find
    from transferkit.config.schema import dump_yaml

    print(dump_yaml(find(name).model_dump(exclude_none=True)), end="")


@backbones.command()
def probe(
    location: Annotated[str, typer.Argument(help="Local folder, .gguf file or hub id; no weights are read.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Commit on the hub.")] = None,
    write: Annotated[Path | None, typer.Option("--write", help="Write the spec to this .yaml file.")] = None,
) -> None:
    """Derive a spec from config and tokenizer."""
    from transferkit.errors import ConfigError
    from transferkit.files.decoder_folder import check_is_decoder
    from transferkit.files.json import write_text
    from transferkit.files.locations import check_location
    from transferkit.files.writable import check_new_file, writing

    if write is not None and write.suffix != ".yaml":
        raise ConfigError(f"--write {write}: expected a new file ending in .yaml")
    if write is not None:
        check_new_file(write, option="--write")
    check_location(location)
    check_is_decoder(location)
    from transferkit.decoder.probe import probe as derive
    from transferkit.decoder.probe import spec_yaml

    spec = derive(location, revision=revision)
    if write is None:
        print(spec_yaml(spec), end="")
        return
    with writing(f"--write {write}: cannot be written", way_out="mend that, or choose another folder"):
        write.parent.mkdir(parents=True, exist_ok=True)
        write_text(write, spec_yaml(spec.model_copy(update={"name": write.stem})))
    print(write)


def templates(json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Prompt templates that recipes and commands can call by name, with the paper that each is from.

    Example: transferkit baseline llama/baseline --method frozen --set 'frozen.templates=[plain, prompteol]'
    """
    import json as json_module

    from transferkit.config.template import find_template, list_templates

    found = {name: find_template(name) for name in list_templates()}
    if json:
        for name, one in found.items():
            print(json_module.dumps({"name": name, **one.model_dump()}))
        return
    table = Table("name", "suits", "template", "source", box=None, header_style="bold")
    for name, one in found.items():
        table.add_row(*(plain(cell) for cell in (name, ", ".join(one.suits), one.template, one.source)))
    Console().print(table)


@recipes.command("list")
def list_recipes() -> None:
    """All built-in recipes."""
    from transferkit.config import recipes as built_in

    print("\n".join(built_in.list_recipes()))


@recipes.command("show")
def show_recipe(name: Annotated[str, typer.Argument(help="Built-in name or .yaml file.")]) -> None:
    """The whole text of a recipe, with what its base says."""
    from transferkit.config.recipe_text import whole_text
    from transferkit.config.recipes import read_recipe, recipe_path

    read_recipe(name)
    print(whole_text(recipe_path(name)), end="")


@recipes.command()
def check(
    name: Annotated[str, typer.Argument(help="Built-in name or .yaml file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override; repeatable.")] = None,
) -> None:
    """Check a recipe and print it with every default filled in."""
    from transferkit.config.recipe import recipe_yaml
    from transferkit.config.recipes import by_option, read_recipe

    recipe = read_recipe(name, overrides=set_, changed=by_option(set_ or ()))
    print(recipe_yaml(recipe), end="", flush=True)  # the verdict comes after it
    verdict = f"{name}: valid; data files are not opened here, --dry-run of its command does that"
    say(verdict, Console(stderr=True))


@recipes.command()
def copy(
    name: Annotated[str, typer.Argument(help="Built-in recipe (qwen3/adapt) or family (qwen3).")],
    to: Annotated[Path, typer.Option("--to", help="Folder to copy into.")] = Path("recipes"),
) -> None:
    """Copy built-in recipes to edit them, each whole."""
    from transferkit.config.recipe_files import copy_recipe

    print(copy_recipe(name, to))


@recipes.command()
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
