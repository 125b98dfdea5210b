"""Which instruction texts of a mteb task are embedded with: given, of the training, of the task, of its type."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mteb.abstasks import AbsTask, AbsTaskRetrieval
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType

from transferkit.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Instructions:
    """Where the instructions of one model come from.

    Attributes:
        given: task or type of task -> instruction of its texts and queries; ``TASK-document`` or ``TYPE-document`` ->
            of its documents.
        trained: training set -> instruction of its anchors.
        trained_documents: training set -> instruction of what its anchors belong to.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, str] = field(default_factory=dict)
    trained_documents: Mapping[str, str] = field(default_factory=dict)

    def of(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """The instruction that texts of a task are embedded with; empty where there is none.

        The first that exists: the one given for the task, for its type, the one that the checkpoint was trained with
        under the task's name, the task's own prompt in mteb, mteb's prompt for tasks of that type. For documents of
        retrieval and reranking the first three are those for documents, and mteb's the one that the task has for them.

        Args:
            task: mteb's description of a task that embeds texts itself (:func:`parts`).
            prompt_type: what mteb says of these texts.
        """
        for name in (task.name, task.type):
            if (key := _key(name, prompt_type)) in self.given:
                return self.given[key]
        document = prompt_type == PromptType.document
        trained = self.trained_documents if document else self.trained
        if task.name in trained:
            return trained[task.name]
        prompt = task.prompt
        if document:
            return prompt.get("document", "") if isinstance(prompt, dict) else ""
        own = prompt.get("query") if isinstance(prompt, dict) else prompt
        return own or get_abstask_prompt(task.name)


def parts(task: AbsTask) -> list[AbsTask]:
    """What embeds texts when a task is run: the task itself, or the tasks that an aggregate consists of."""
    inner = inner_tasks(task)
    return [task] if inner is None else [part for one in inner for part in parts(one)]


def inner_tasks(task: AbsTask) -> list[AbsTask] | None:
    """Those of an aggregate, which may be aggregates themselves; None where the task is none."""
    return getattr(task.metadata, "tasks", None)


def prompt_types(task: AbsTask) -> list[PromptType]:
    """What mteb may say of the texts that a part embeds; what has no documents has queries alone."""
    return list(PromptType) if isinstance(task, AbsTaskRetrieval) else [PromptType.query]


def by_part(
    task: AbsTask, instruction: Callable[[TaskMetadata, PromptType | None], str]
) -> dict[str, dict[PromptType, str]]:
    """Each part of a task -> the instruction of its queries and, where it has any, of its documents."""
    return {
        part.metadata.name: {kind: instruction(part.metadata, kind) for kind in prompt_types(part)}
        for part in parts(task)
    }


def instruction_keys(tasks: Sequence[AbsTask]) -> list[str]:
    """The keys under which an instruction for one of these tasks can be given."""
    names = [
        (name, kind)
        for task in tasks
        for part in parts(task)
        for kind in prompt_types(part)
        for name in (task.metadata.name, part.metadata.name, part.metadata.type)
    ]
    return list(dict.fromkeys(_key(name, kind) for name, kind in names))


def parse_instructions(given: Sequence[str], tasks: Sequence[AbsTask]) -> dict[str, str]:
    """What ``TASK=TEXT`` says, for each part of a task.

    Raises:
        ConfigError: another form, a key that none of the tasks has, or one that is given twice.
    """
    allowed = instruction_keys(tasks)
    found: dict[str, str] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals:
            raise ConfigError(f"--instruction {one!r}: expected TASK=TEXT")
        if key not in allowed:
            raise ConfigError(
                f"--instruction {one!r}: {key!r} is neither a task that is run nor its type{did_you_mean(key, allowed)}"
            )
        if key in found:
            raise ConfigError(f"--instruction {one!r}: {key!r} is given twice; give every key once")
        found[key] = text
    return for_parts(found, tasks)


def for_parts(given: Mapping[str, str], tasks: Sequence[AbsTask]) -> dict[str, str]:
    """``given``, with what it says of an aggregate said of each part that it says nothing of."""
    found = dict(given)
    for task in tasks:
        for kind in PromptType:
            if (key := _key(task.metadata.name, kind)) in given:
                found = {_key(part.metadata.name, kind): given[key] for part in parts(task)} | found
    return found


def _key(name: str, prompt_type: PromptType | None) -> str:
    """Under which an instruction is given for a task, or a type of task."""
    return f"{name}-document" if prompt_type == PromptType.document else name
