"""What the pages call by a name of the reader's, such as ./my-decoder or runs/adapt-...: tiny ones under that name."""

import random
import re
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from helpers.pages import ROOT, blocks
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET
from helpers.set_folders import table
from helpers.tiny import Tiny
from transferkit.config.datasets import ROLES, DevSet, TrainSet
from transferkit.config.recipe import Recipe
from transferkit.config.recipes import read_recipe
from transferkit.files.builtin import bundled_dir
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start

RUN = re.compile(r"runs/(?P<kind>[a-z]+(?:-[a-z]+)*)(?:-\.\.\.|\.\.\.|-\*)")
_ABOUT = {
    "card": "my card was stolen|i lost the card at a shop|block the card please|a new card has come|the card is broken",
    "time": "what time is it in tokyo|set an alarm for six|how late is it now|wake me up at noon|the clock is wrong",
    "music": "play some jazz|who sings this song|turn the music down|i like that band|another album of hers please",
}
_WHEN = ("now", "today", "again", "soon", "then", "later", "once", "twice", "here", "there")
LABELLED = [(f"{text} {when}", label) for when in _WHEN for label in _ABOUT for text in _ABOUT[label].split("|")]


class Shelf:
    """Every toy, made when a page first asks for it and kept for the pages after it."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        self.done: set[tuple[str, ...]] = set()  # dry runs that were made already

    @cached_property
    def source(self) -> Path:
        return source_checkpoint(self.tiny, self.folder / "source", offsets=0.1)

    def run(self, kind: str) -> Path:
        """A finished run; ``adapt-old`` and ``adapt-new`` are two of ``adapt``."""
        if (made := self.folder / "runs" / kind).is_dir():
            return made
        method, _, name = kind.partition("-") if kind.startswith("adapt") else (kind, "", "")
        task = method if method in ("adapt", "train") else "baseline"
        changes = {"method": method} if task == "baseline" else {}
        seed = {"old": 4, "new": 5}.get(name, 3)
        recipe = self.tiny.recipe(task, seed=seed, optim={"steps": 2}, **changes)
        inputs = Inputs(source=self.source if task == "adapt" else None, data_dir=self.tiny.data)
        return start(recipe, inputs, runs=made.parent, console=QUIET, name=kind)

    @cached_property
    def data(self) -> Path:
        """Every file that the recipes for local files read, and those in the pages."""
        folder = self.folder / "data"
        for name in ("mixture/train", "mixture/baseline"):
            write_data(read_recipe(name), folder)
        return folder

    @cached_property
    def sets(self) -> Path:
        """The folder whose picture stands in the page on data."""
        (picture,) = (one.text for one in blocks("docs/your-data.md") if one.text.startswith("DIR/\n"))
        for line in picture.splitlines()[1:]:
            first, *others = line.split()
            for file in (Path(first), *(Path(first).with_name(name) for name in others)):
                table(self.folder / "sets" / file, _rows(file.stem))
        return self.folder / "sets"

    @cached_property
    def gguf(self) -> Path:
        from helpers.gguf_files import write_pair

        return write_pair("llama", self.folder)[0]

    @cached_property
    def real_decoders(self) -> Path:
        folder = self.folder / "real-decoders"
        _link(folder / "all-minilm-l6-v2", self.tiny.encoder)
        _link(folder / "smollm2-135m-instruct", bundled_dir("bundled-llama-5m"))
        return folder

    def translator(self, name: str) -> Path:
        from helpers.augment_models import save_marian, save_t5

        made = self.folder / name
        return made if made.is_dir() else (save_t5 if name == "en-de" else save_marian)(made)

    @cached_property
    def texts(self) -> Path:
        file = self.folder / "texts.txt"
        file.write_text("".join(f"{text}\n" for text, _ in LABELLED), encoding="utf-8")
        return file

    @cached_property
    def more(self) -> Path:
        file = self.folder / "more.txt"
        file.write_text("".join(f"{text} again\n" for text, _ in LABELLED), encoding="utf-8")
        return file

    @cached_property
    def tickets(self) -> Path:
        return table(self.folder / "tickets.csv", _labelled("text", "label"))


# Name on the pages -> what stands there. A test fails where no page has the name any more.
TOYS: dict[str, Callable[[Shelf], Path]] = {
    "./my-decoder": lambda _: bundled_dir("bundled-gptneox-5m"),
    "./my-instruct-model": lambda shelf: shelf.tiny.target,
    "./all-MiniLM-L6-v2": lambda shelf: shelf.tiny.encoder,
    "./all-minilm-l6-v2": lambda shelf: shelf.tiny.encoder,
    "./SmolLM2-135M-Instruct.Q4_1.gguf": lambda shelf: shelf.gguf,
    "./en-de": lambda shelf: shelf.translator("en-de"),
    "./de-en": lambda shelf: shelf.translator("de-en"),
    "meta-llama/Llama-3.2-3B": lambda shelf: shelf.tiny.target,
    "org/model": lambda shelf: shelf.tiny.target,
    "/models/decoder": lambda _: bundled_dir("bundled-llama-5m"),
    "DECODER": lambda shelf: shelf.tiny.target,
    "FOLDER": lambda shelf: shelf.tiny.target,
    "SMALL_FOLDER": lambda shelf: shelf.tiny.prompting,
    "$SOURCE": lambda shelf: shelf.source,
    "runs/SOURCE": lambda shelf: shelf.source,
    "real-decoders": lambda shelf: shelf.real_decoders,
    "DIR": lambda shelf: shelf.sets,
    "data": lambda shelf: shelf.data,
    "DATA": lambda shelf: shelf.data,
    "tickets.csv": lambda shelf: shelf.tickets,
    "texts.txt": lambda shelf: shelf.texts,
    "passages.txt": lambda shelf: shelf.texts,
    "more.txt": lambda shelf: shelf.more,
}


def lay_out(words: Sequence[str], home: Path, shelf: Shelf) -> None:
    """Put the toys that a line names, or one of its options, below ``home`` where nothing of that name stands."""
    for word in (part for one in words for part in {one, one.rpartition("=")[2]}):
        if found := RUN.fullmatch(word):
            # The kind's own name, and the one with dots that other lines of a page give it.
            _link(home / word.replace("-*", "-..."), shelf.run(found["kind"]))
        elif word in TOYS and not word.startswith("/"):
            _link(home / word, TOYS[word](shelf))


def write_data(recipe: Recipe, folder: Path) -> None:
    """A small table for every file that a recipe's sets read."""
    for one in (*recipe.data.train, *recipe.data.dev):
        if one.path is not None:
            _write_set(one, folder)


def _write_set(one: TrainSet | DevSet, folder: Path) -> None:
    assert one.path is not None
    if one.kind == "retrieval":
        assert isinstance(one, DevSet)
        for name, path in (("queries", one.path), ("corpus", one.corpus_path), ("qrels", one.qrels_path)):
            table(folder / str(path), _rows(name))
        return
    columns = ROLES[one.kind] | one.columns
    rows = [dict(zip(columns.values(), _cells(one.kind, i), strict=True)) for i in range(len(LABELLED))]
    for path in filter(None, (one.path, getattr(one, "train_path", None))):
        if path.endswith(".txt"):
            (folder / path).write_text("".join(f"{text}\n" for text, _ in LABELLED), encoding="utf-8")
        else:
            table(folder / path, rows)


def _cells(kind: str, i: int) -> tuple[str | float, ...]:
    text, label = LABELLED[i]
    other = LABELLED[(i + 3 * len(_ABOUT["card"].split("|"))) % len(LABELLED)][0]
    match kind:
        case "sts":
            return text, random.Random(i).choice(LABELLED)[0], i % 5
        case "pairs":
            return text, f"{other} {i}"
        case "texts":
            return (text,)
        case _:
            return text, label


def _rows(name: str) -> list[dict[str, str | float]]:
    """Of a file of a test set, by its name."""
    count = len(LABELLED)
    match name.partition("_")[0]:
        case "queries":
            return [{"_id": f"q{i}", "text": LABELLED[i][0]} for i in range(40)]
        case "corpus":
            return [{"_id": f"d{i}", "text": f"{LABELLED[i][0]} {i}"} for i in range(count)]
        case "qrels":
            return [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(40)]
        case _:
            return _labelled("text", "label")


def _labelled(text: str, label: str) -> list[dict[str, str | float]]:
    return [{text: one, label: other} for one, other in LABELLED]


def _link(place: Path, made: Path) -> None:
    """A copy of a file, a link to a folder."""
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if made.is_dir():
        place.symlink_to(made)
    else:
        shutil.copyfile(made, place)


def repository(home: Path) -> None:
    """The folders of the repository that commands name from its root, but none that they write into."""
    for name in ("benchmarks", "results", "tests", "constraints.txt"):
        (home / name).symlink_to(ROOT / name)
    (home / "backbones").mkdir()
