"""The folder tree is the architecture: imports point one way, nothing goes in circles, and no room is too full.

Which rooms there are, in which order, and which of them never import torch is read from docs/architecture.md.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import transferkit
from transferkit.config.methods import all_methods
from transferkit.runs.schema import Record

ROOT = Path(transferkit.__file__).parent
TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
TORCH = {"torch", "transformers", "accelerate", "peft", "bitsandbytes", "sentence_transformers", "mteb"}
HEAVY = TORCH | {"datasets", "matplotlib", "sklearn", "scipy"}
METHOD_BLIND = ("training", "runner", "checkpoints", "embed")  # rooms that reach a method by its contract alone


def dotted(path: Path) -> str:
    """Name of a module; a package has the name of its folder."""
    return ".".join(["transferkit", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def floors() -> list[str]:
    """Rooms from the ground up: those of the page's picture of the package, in its order."""
    picture = re.search(r"^transferkit/\n((?:  .*\n)+)", PAGE, re.MULTILINE)
    assert picture is not None
    return re.findall(r"^  (\w+)(?:/|\.py) ", picture[1], re.MULTILINE)


def listed(heading: str) -> list[str]:
    """Modules in the files and folders of a row of the page's table on torch."""
    row = re.search(rf"^\| {heading} \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None, heading
    places = [ROOT / place for place in re.findall(r"`([\w./]+)`", row[1])]
    assert places
    assert all(place.exists() for place in places)
    return [name for name, path in FILES.items() if any(path == place or place in path.parents for place in places)]


FILES = {dotted(path): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
FLOORS = floors()
# The package itself holds the public names, and `python -m` its start: both stand above all rooms.
INSIDE = [module for module in MODULES if module not in ("transferkit", "transferkit.__main__")]
NEVER, ON_LOADING = listed("never, nor inside a function"), listed("not while they load")


def room(module: str) -> str:
    return module.split(".")[1]


def nodes(tree: ast.AST, *, functions: bool = True, for_types: bool = True) -> Iterator[ast.AST]:
    """All nodes; without ``functions`` those that run while the module loads, without ``for_types`` those that run."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield from nodes(node, functions=functions, for_types=for_types)


def imported(module: str, *, functions: bool = True, for_types: bool = True) -> set[str]:
    """What a module imports, dotted: modules and packages of ours, and of all else whatever name stands there."""
    found = set()
    for node in nodes(MODULES[module], functions=functions, for_types=for_types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # What is no module of a package is a name in it, and the package has that from somewhere.
            found |= {name if name in MODULES else str(node.module) for name in inside}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imported(module) if name in INSIDE} - {module}


def reached(module: str, *, functions: bool) -> Iterator[tuple[str, set[str]]]:
    """Modules that run where ``module`` does, packages around them included, and what each of them imports."""
    seen, queue = {module}, [module]
    while queue:
        one = queue.pop()
        found = imported(one, functions=functions, for_types=False)
        yield one, found
        around = {".".join(name.split(".")[:end]) for name in (one, *found) for end in range(1, name.count(".") + 1)}
        new = ((found | around) & MODULES.keys()) - seen
        queue += new
        seen |= new


def test_every_room_has_a_floor() -> None:
    assert len(set(FLOORS)) == len(FLOORS)
    assert {room(module) for module in INSIDE} == set(FLOORS)


def test_every_folder_has_tests_of_its_own() -> None:
    """In a folder of the same name; what stands beside these is for several rooms, or for what is no room."""
    tested = {file.parent.name for file in TESTS.glob("*/test_*.py")}
    assert tested - {"benchmarks"} == {name for name in FLOORS if (ROOT / name).is_dir()}


@pytest.mark.parametrize("module", INSIDE)
def test_imports_point_down(module: str) -> None:
    above = [name for name in ours(module) if FLOORS.index(room(name)) > FLOORS.index(room(module))]
    assert not above, f"{module} imports from rooms above it"


def test_rooms_take_the_version_alone_from_the_package_itself() -> None:
    """Its public names come from everywhere, so one of them would be an import of anything."""
    for module in INSIDE:
        for node in ast.walk(MODULES[module]):
            if isinstance(node, ast.ImportFrom) and node.module == "transferkit":
                names = {alias.name for alias in node.names if f"transferkit.{alias.name}" not in MODULES}
                assert names <= {"__version__"}, module
            elif isinstance(node, ast.Import):
                assert "transferkit" not in {alias.name for alias in node.names}, module


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


@pytest.mark.parametrize("module", NEVER)
def test_what_never_imports_torch_does_so_in_no_function_either(module: str) -> None:
    for one, found in reached(module, functions=True):
        assert not {name.partition(".")[0] for name in found} & TORCH, one


@pytest.mark.parametrize("module", [*NEVER, *ON_LOADING])
def test_what_is_light_loads_nothing_heavy(module: str) -> None:
    for one, found in reached(module, functions=False):
        assert not {name.partition(".")[0] for name in found} & HEAVY, one


def test_methods_are_reached_by_their_contract_alone() -> None:
    """All else reaches a method through the registry; ``open`` reads a plain decoder, which is the frozen one."""
    contract = {f"transferkit.methods.{name}" for name in ("base", "registry", "described", "encoding")}
    for module in INSIDE:
        if room(module) in METHOD_BLIND and module != "transferkit.checkpoints.open":
            found = {name for name in ours(module) if room(name) == "methods"}
            assert found <= contract, module


def test_no_method_is_known_by_its_name() -> None:
    facts = all_methods().values()
    names = {one.name for one in facts} | {one.kind for one in facts if one.kind}
    names -= set(Record.model_fields)  # a record's `source` is what a run started from
    hyphened = {name for name in names if "-" in name}  # no words of English: looked for inside sentences too
    for module in INSIDE:
        if room(module) in METHOD_BLIND:
            for text in strings(MODULES[module]):
                assert text not in names, module
                assert not hyphened & set(re.findall(r"[\w-]+", text)), module


def strings(tree: ast.AST) -> Iterator[str]:
    """All strings of a module but its docstrings."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_no_room_is_too_full() -> None:
    for folder in {path.parent for path in ROOT.rglob("*.py")}:
        assert len(list(folder.glob("*.py"))) <= (4 if folder == ROOT else 14), folder.name


@pytest.mark.parametrize("module", INSIDE)
def test_no_file_and_no_function_is_too_long(module: str) -> None:
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= 300
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name
