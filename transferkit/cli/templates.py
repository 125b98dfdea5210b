"""``templates``: the prompt templates that have a name."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def templates(json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Prompt templates that recipes and commands can call by name, with the paper that each is from.

    Example: transferkit baseline llama/baseline --method frozen --set 'frozen.templates=[plain, prompteol]'
    """
    import json as json_module

    from transferkit.config.named_templates import find_template, list_templates

    found = {name: find_template(name) for name in list_templates()}
    if json:
        for name, one in found.items():
            print(json_module.dumps({"name": name, **one.model_dump()}))
        return
    table = Table("name", "suits", "template", "source", box=None, header_style="bold")
    for name, one in found.items():
        table.add_row(*(escape(cell) for cell in (name, ", ".join(one.suits), one.template, one.source)))
    Console().print(table)
