"""The folder tree is the architecture: imports point one way, nothing goes in circles, and no room is too full."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import transferkit

ROOT = Path(transferkit.__file__).parent
FLOORS = [  # from the ground up: a room imports from those before it, at the top of a file or inside a function
    *("errors", "progress", "files", "config", "runs", "data", "decoder", "prompting", "methods", "checkpoints"),
    *("training", "runner", "report", "convergence", "study", "embed", "evaluation", "attention", "augment", "cli"),
]
LIGHT = (
    "errors",
    "progress",
    "files",
    "config",
    "runs",
    "data",
    "report",
    "convergence",
)  # torch is never needed there
HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft", "bitsandbytes", "matplotlib", "sklearn", "scipy"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}


def room(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.AST, *, at_import: bool = False) -> Iterator[str]:
    """Names of what is imported, our own without ``transferkit.``; ``at_import``: only by the module as it loads."""
    for node in tree.body if at_import and isinstance(tree, ast.Module) else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in names if name.removeprefix("transferkit.") in MODULES] or [node.module]
            yield from (name.removeprefix("transferkit.") for name in found)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("transferkit.") for alias in node.names)


def ours(module: str, *, at_import: bool = False) -> set[str]:
    return {name for name in imported(MODULES[module], at_import=at_import) if name in MODULES} - {module}


INSIDE = [module for module in MODULES if not module.startswith("__")]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in INSIDE} == set(FLOORS)


@pytest.mark.parametrize("module", INSIDE)
def test_imports_point_down(module: str) -> None:
    above = [name for name in ours(module) if FLOORS.index(room(name)) > FLOORS.index(room(module))]
    assert not above, f"{module} imports from rooms above it"


def test_no_file_imports_itself_by_way_of_others() -> None:
    state: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != "open", " -> ".join([*path, module])
        if module in state:
            return
        state[module] = "open"
        for name in ours(module):
            visit(name, (*path, module))
        state[module] = "done"

    for module in INSIDE:
        visit(module, ())


@pytest.mark.parametrize("module", [module for module in INSIDE if room(module) in LIGHT])
def test_light_rooms_load_nothing_heavy(module: str) -> None:
    seen, queue = {module}, [module]
    while queue:
        one = queue.pop()
        assert not {name.partition(".")[0] for name in imported(MODULES[one], at_import=True)} & HEAVY, one
        queue += (new := ours(one, at_import=True) - seen)
        seen |= new


def test_the_loop_knows_methods_by_their_contract_alone() -> None:
    """All else reaches a method through the registry; ``open`` reads a plain decoder, which is the frozen one."""
    contract = {"methods.base", "methods.registry", "methods.described"}
    for module in INSIDE:
        if room(module) in ("training", "runner", "checkpoints") and module != "checkpoints.open":
            found = {name for name in ours(module) if room(name) == "methods"}
            assert found <= contract, module


def test_no_room_is_too_full() -> None:
    for folder in {path.parent for path in ROOT.rglob("*.py")}:
        assert len(list(folder.glob("*.py"))) <= (4 if folder == ROOT else 14), folder.name


@pytest.mark.parametrize("module", INSIDE)
def test_no_file_and_no_function_is_too_long(module: str) -> None:
    file = ROOT / Path(*module.split(".")).with_suffix(".py")
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name
