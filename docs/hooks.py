"""What MkDocs does beside its plugins: lay the site out as the repository is, and generate what the code can say.

The pages of this folder keep their path from the repository's root, and the repository's other Markdown files stand
beside them. So a relative link leads to the same page here and on a forge. Two things are written by nobody: the
Python reference (a page for every folder of the package, from its docstrings) and the commands (from the command line
itself). Modules and commands may come, go and move: no list of them is kept.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "transferkit"
# Of the repository beside docs/; what is not Markdown is there because a page links to it.
SHOWN = (
    "*.md",
    "LICENSE",
    "*/README.md",
    "results/archive.md",
    "results/toys.md",
    "results/**/table.md",
    "results/**/*.png",
    "results/*/study.yaml",
)
ROLE = re.compile(r":(?:func|class|meth|mod|attr|exc|data):(?=<code>|`)")  # Sphinx's, of which MkDocs knows nothing


def on_config(config: MkDocsConfig) -> None:
    """Put the Python reference at the end of the navigation."""
    assert config.nav is not None
    pages = [{_title(room): f"docs/api/{room}.md"} for room in _rooms()]
    config.nav[-1]["Reference"].append({"Python": [{"Public names": "docs/api/index.md"}, *pages]})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Lay the site out as the repository is, and add the pages that are generated."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
            if not file.src_uri.endswith((".py", ".pyc")):
                files.append(File.generated(config, f"docs/{file.src_uri}", abs_src_path=file.abs_src_path))
    for path in sorted({path for pattern in SHOWN for path in ROOT.glob(pattern)}):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for room, modules in _rooms().items():
        files.append(File.generated(config, f"docs/api/{room}.md", content=_room_page(room, modules)))
    files.append(File.generated(config, "docs/api/index.md", content=_public_page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Put what is generated in the place of its marker."""
    marker = "<!-- generated: commands -->"
    if marker in markdown:
        markdown = markdown.replace(marker, commands())
    if "<!-- generated:" in markdown:
        raise PluginError(f"{page.file.src_uri}: a marker for something that docs/hooks.py does not generate")
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things in Sphinx's way, ``:func:`load```: leave the name alone."""
    return re.sub(r"<code>~?(transferkit[\w.]*\.)?(\w+)</code>", r"<code>\1\2</code>", ROLE.sub("", html))


def _rooms() -> dict[str, list[str]]:
    """Folder of the package -> its documented modules, dotted; ``transferkit`` has those beside the folders."""
    rooms: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = ["transferkit", *file.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if any(part.startswith("_") for part in parts) or len(parts) == 1:
            continue
        room = parts[1] if (PACKAGE / parts[1]).is_dir() else "transferkit"
        rooms.setdefault(room, []).append(".".join(parts))
    return dict(sorted(rooms.items(), key=lambda item: (item[0] != "transferkit", item[0])))


def _title(room: str) -> str:
    return room if room == "transferkit" else f"transferkit.{room}"


def _room_page(room: str, modules: list[str]) -> str:
    return f"# {_title(room)}\n\n" + "".join(f"::: {module}\n\n" for module in modules)


def _public_page() -> str:
    """A table of ``transferkit.__all__``, each name linked to where it is documented."""
    package = griffe.load("transferkit", search_paths=[ROOT])
    lines = [
        "# Public names",
        "",
        "These can be imported from `transferkit`, and a version number speaks of them. What the other pages show is",
        "documented too, but it may move between versions.",
        "",
        "| name | what it is |",
        "| --- | --- |",
    ]
    for name in sorted(str(name) for name in package.exports or ()):
        found = package[name]
        said = found.docstring.value.splitlines()[0] if found.docstring else "The version, as text."
        link = f"[`{name}`][{found.canonical_path}]" if found.is_alias else f"`{name}`"
        lines.append(f"| {link} | {ROLE.sub('', said)} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its arguments and options, as typer's own generator writes them."""
    asked = [sys.executable, "-m", "typer", "transferkit.cli.app", "utils", "docs", "--name", "transferkit"]
    text = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", text)  # the contents beside the page list them uncut
    text = re.sub(r"^Example: (.+)$", r"Example: `\1`", text, flags=re.MULTILINE)
    return re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)
