"""A run in the words of the command line and of Python -> its recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.config.methods import Task, baseline_methods
from transferkit.config.recipe import Recipe, check_data_dir
from transferkit.config.recipes import by_option, change, list_recipes, read_recipe
from transferkit.config.specs import declared_spec
from transferkit.errors import ConfigError
from transferkit.files.builtin import BUNDLED, SHIPPED
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.tables import PLAIN, PLAIN_COLUMN, STREAMED, no_column
from transferkit.files.vectors.writing import SUFFIXES
from transferkit.request.columns import OPTION, find_columns
from transferkit.request.named import check_decoder, check_named, check_source, check_texts
from transferkit.request.own_data import own_data
from transferkit.runs.checkpoint_folder import checkpoint_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked of a run; whatever is left out follows from the rest.

    Attributes:
        task: train, adapt or baseline.
        recipe: built-in name or .yaml file; None: the one that suits source, target and data.
        method: of a baseline.
        source: checkpoint or run folder of a `train`.
        target: what the recipe calls backbone, or an encoder's folder.
        quantize: ``nf4`` or ``none``.
        data: a file of the user's, in the place of the recipe's data.
        columns: role -> column of that file.
        instruction: of its texts.
        unlabelled: a file of texts alone, in the place of the recipe's data.
        column: where its texts are.
        teacher: who teaches, a model or a file of vectors.
        changes: of the recipe, as ``key=value``, on top of all else but target, quantize and method.
        data_dir: what relative paths of the recipe start from.
    """

    task: Task
    recipe: str | None = None
    method: str | None = None
    source: Path | None = None
    target: str | None = None
    quantize: str | None = None
    data: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    instruction: str | None = None
    unlabelled: Path | None = None
    column: str | None = None
    teacher: str | None = None
    changes: tuple[str, ...] = ()
    data_dir: Path | None = None

    def read(self, say: Say) -> Recipe:
        """The recipe; ``say`` gets what was chosen and found, line by line.

        Raises:
            ConfigError: what does not go together, a recipe or file that is not there, or a recipe without a target.
        """
        self._check()
        name, changes = self.recipe, self._changes()
        if name is None:
            name = self._usual_recipe()
            say(f"no recipe given: using the built-in {name}")
        if self.data is not None:
            own = own_data(find_columns(self.data, self.columns), self.task, instruction=self.instruction)
            for line in own.said:
                say(line)
            changes = [*own.overrides, *changes]
        recipe = read_recipe(name, overrides=changes, task=self.task, changed=by_option(self.changes))
        if self.task == "baseline" and recipe.method is None:
            raise ConfigError(f"baseline needs a method: --method {'|'.join(baseline_methods())}")
        check_data_dir(recipe, self.data_dir)
        check_named(recipe, data_dir=self.data_dir)
        check_source(recipe, self.source)
        return recipe

    def _check(self) -> None:
        if self.column is not None and self.unlabelled is None:
            raise ConfigError(
                "--column says where the text is in the file of --unlabelled; give that, or leave it away"
            )
        about_data = [*(OPTION[role] for role in self.columns), *(["--instruction"] if self.instruction else [])]
        if about_data and self.data is None:
            raise ConfigError(f"{about_data[0]} says something about the file of --data; give that, or leave it away")
        if self.source is not None:
            checkpoint_folder(self.source)
        if self.data is not None and self.unlabelled is not None:
            raise ConfigError("--data and --unlabelled both take the place of the recipe's data; give one of them")
        if self.data is not None and self.data_dir is not None:
            raise ConfigError("--data-dir is where a recipe's files lie, and --data takes their place; leave it away")

    def _changes(self) -> list[str]:
        """Of the recipe, but for the file of ``data``."""
        changes = [] if self.unlabelled is None else _texts_alone(self.unlabelled, self.column)
        changes += [] if self.teacher is None else _taught_by(self.teacher)
        changes += self.changes
        changes += [change("embedding.backbone", self.target)] if self.target else []
        changes += [change("embedding.quantization", self.quantize)] if self.quantize else []
        changes += [change("method", self.method)] if self.method else []
        return changes

    def _usual_recipe(self) -> str:
        if self.data is not None:
            return f"mixture/{self.task}"  # its data are replaced, and it asks for nothing else
        if self.task == "adapt" and self.source in SHIPPED:
            return f"{BUNDLED}/adapt"
        return _recipe_of_family(self.task, self.target)


def _recipe_of_family(task: Task, target: str | None) -> str:
    """Name of the built-in recipe that is written for the target's family."""
    if target is None:
        raise ConfigError(f"{task} needs a recipe or a --target (`transferkit recipes list` shows the built-in ones)")
    if is_encoder(target):
        raise ConfigError(
            f"{target}: a ready-made encoder is of no decoder's family; name the recipe whose data it is scored on "
            "(`transferkit recipes list` shows the built-in ones)"
        )
    check_decoder(target)
    spec = declared_spec(target)
    if spec is None:
        from transferkit.decoder.probe import probe

        spec = probe(target)
    family = spec.family
    name = f"{family}/{task}"
    if name not in list_recipes():
        raise ConfigError(
            f"no built-in {task} recipe for the family {family!r}; name one (`transferkit recipes list`) or make "
            f"one (`transferkit recipes new --family {family} --backbone {target}`)"
        )
    return name


def _texts_alone(file: Path, column: str | None) -> list[str]:
    """Data of one file of texts: what is trained on, and a part that is held out of it."""
    if file.suffix.lower() == PLAIN and column not in (None, PLAIN_COLUMN):
        raise no_column(f"--unlabelled {file}", str(column), [PLAIN_COLUMN], way_out="; a text file has this one alone")
    if file.suffix.lower() in STREAMED and file.is_file():  # what else is wrong with it is told with its set
        check_texts(str(file), column=column or PLAIN_COLUMN)
    one = {"name": "unlabelled", "kind": "texts", "path": str(file.resolve())}
    columns = {} if column is None else {"columns": {"text": column}}
    return [change(f"data.{part}", [{**one, **columns, "part": part}]) for part in ("train", "dev")]


def _taught_by(teacher: str) -> list[str]:
    if Path(teacher).suffix.lower() in SUFFIXES:
        return [change("teacher.vectors", str(Path(teacher).resolve()))]
    return [change("teacher.model", teacher)]
