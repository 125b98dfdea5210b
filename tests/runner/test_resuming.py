"""What a run goes on with: its own recipe, in its own folder; all else is refused with what differs, or forced."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.run_parts import QUIET, Stopped
from helpers.tiny import Tiny

from transferkit.errors import ConfigError
from transferkit.runner.prepare import Inputs
from transferkit.runner.resuming import continued
from transferkit.runner.run import resume, start
from transferkit.training.signals import Interrupted


@pytest.fixture
def interrupted(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of eight steps that was stopped after its second one."""
    recipe = tiny.recipe("baseline", method="prompt-tuning", optim={"steps": 8, "batch_size": 8})
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, name="run", console=QUIET)
    return tmp_path / "run"


def edit(folder: Path, before: str, after: str) -> None:
    file = folder / "recipe.yaml"
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return found


def test_an_edited_recipe_is_refused_with_the_difference(interrupted: Path) -> None:
    """It would train past its last step, with learning rates below zero."""
    edit(interrupted, "steps: 8", "steps: 1")
    with pytest.raises(ConfigError, match=r"\(optim\.steps was 8 and is 1\); put it back, .* with --force-resume"):
        resume(interrupted, console=QUIET)
    edit(interrupted, "steps: 1", "steps: 8")
    assert record(resume(interrupted, console=QUIET))["steps"] == 8


def test_forced_it_goes_on_and_says_so(interrupted: Path) -> None:
    edit(interrupted, "steps: 8", "steps: 5")
    resume(interrupted, force=True, console=QUIET)
    assert record(interrupted)["steps"] == 5
    assert record(interrupted)["resumed"][0]["forced"] == {"optim.steps": [8, 5]}


def test_another_seeds_states_are_refused(interrupted: Path) -> None:
    edit(interrupted, "seed: 3", "seed: 4")
    with pytest.raises(ConfigError, match="seed was 3 and is 4"):
        resume(interrupted, console=QUIET)


def test_what_changes_no_vector_may_be_edited(interrupted: Path) -> None:
    """More memory or a smaller batch of an evaluation is what one edits a recipe for."""
    edit(interrupted, "save_every: 2", "save_every: 3")
    assert record(resume(interrupted, console=QUIET))["status"] == "done"
    assert "forced" not in record(interrupted)["resumed"][0]


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move], ids=["copied", "moved"])
def test_a_folder_elsewhere_is_refused(interrupted: Path, how: Any) -> None:
    other = interrupted.with_name("other")
    how(interrupted, other)
    with pytest.raises(ConfigError, match="run was 'run' and is 'other'"):
        resume(other, console=QUIET)
    resume(other, force=True, console=QUIET)
    assert record(other)["resumed"][0]["forced"] == {"run": ["run", "other"]}


def test_so_is_one_of_the_same_name_elsewhere_but_where_a_study_keeps_it(interrupted: Path) -> None:
    other = interrupted.parent / "elsewhere" / interrupted.name
    shutil.copytree(interrupted, other)
    with pytest.raises(ConfigError, match=r"folder was '.*run' and is '.*elsewhere/run'\); put it back"):
        resume(other, console=QUIET)
    again = interrupted.parent / "again" / interrupted.name
    shutil.copytree(interrupted, again)
    resume(again, anywhere=True, console=QUIET)
    resume(other, force=True, console=QUIET)
    assert record(other)["resumed"][0]["forced"] == {"folder": [str(interrupted), str(other)]}


def test_steps_beyond_the_last_end_the_run(interrupted: Path) -> None:
    """A forced recipe with fewer steps than were trained stops where it is."""
    edit(interrupted, "steps: 8", "steps: 1")
    resume(interrupted, force=True, console=QUIET)
    assert record(interrupted)["steps"] == 2


def test_states_that_a_kill_left_behind_a_finished_run_go(interrupted: Path) -> None:
    kept = interrupted.with_name("kept")
    (state,) = interrupted.glob("state-*")
    shutil.copytree(state, kept)
    resume(interrupted, console=QUIET)
    shutil.move(kept, interrupted / state.name)
    resume(interrupted, console=QUIET)
    assert not list(interrupted.glob("state-*"))


def test_code_that_is_in_no_checkout_says_nothing_of_changes() -> None:
    """Either side may run from an installed package."""
    here = {"command": "again", "versions": {}, "created_at": "later"}
    clean = {"commit": "abc", "dirty": False}
    begun = {"command": "first", "versions": {}, "created_at": "before"}
    for mine, theirs, kept in ((None, clean, clean), (clean, None, None), (clean | {"dirty": True}, clean, True)):
        found = continued(here | {"git": mine}, begun | {"git": theirs}, forced={})
        assert found["git"] == (clean | {"dirty": True} if kept is True else kept)
        assert found["command"] == "first"
        assert [one["git"] for one in found["resumed"]] == [mine]
