"""Copies of built-in recipes and the files of a new family."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from transferkit.config import recipe_files
from transferkit.config.recipe_files import copy_recipe, list_families, new_family
from transferkit.config.recipe_text import whole_text
from transferkit.config.recipes import list_recipes, read_recipe, recipe_path
from transferkit.config.schema import dump_yaml, read_yaml
from transferkit.config.specs import find_spec
from transferkit.errors import ConfigError, RefusedError
from transferkit.files.json import write_text

TASKS = ["train", "adapt", "baseline"]


@cache
def whole(name: str) -> str:
    return whole_text(recipe_path(name))


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Copies


def test_one_recipe_is_copied_into_a_folder(tmp_path: Path) -> None:
    file = copy_recipe("llama/adapt", tmp_path / "mine")
    assert file == tmp_path / "mine" / "llama" / "adapt.yaml"
    assert file.read_text(encoding="utf-8") == whole("llama/adapt")
    assert written(tmp_path) == ["mine/llama/adapt.yaml"]
    assert read_recipe(str(file)) == read_recipe("llama/adapt")


def test_one_recipe_is_copied_to_a_file(tmp_path: Path) -> None:
    assert copy_recipe("llama/adapt", tmp_path / "new" / "mine.yaml") == tmp_path / "new" / "mine.yaml"
    assert written(tmp_path) == ["new/mine.yaml"]


@pytest.mark.parametrize("family", list_families())
def test_family_is_copied_whole(family: str, tmp_path: Path) -> None:
    assert copy_recipe(family, tmp_path) == tmp_path / family
    assert written(tmp_path) == sorted(f"{name}.yaml" for name in list_recipes() if name.startswith(f"{family}/"))
    for file in written(tmp_path):
        name = file.removesuffix(".yaml")
        assert "base" not in read_yaml(tmp_path / file), "a copy needs no other file"
        assert (tmp_path / file).read_text(encoding="utf-8") == whole(name)
        assert read_recipe(str(tmp_path / file)) == read_recipe(name)


def test_nothing_is_overwritten_and_nothing_half_done(tmp_path: Path) -> None:
    mine = tmp_path / "llama" / "baseline.yaml"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    for name in ("llama", "llama/baseline"):
        with pytest.raises(ConfigError, match=r"baseline\.yaml: exists already"):
            copy_recipe(name, tmp_path)
    assert written(tmp_path) == ["llama/baseline.yaml"]
    assert mine.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("name", "closest"),
    [("llama/adpt", "llama/adapt"), ("lama", "llama"), ("Qwen3", "qwen3"), ("../llama", "llama")],
)
def test_unknown_name_gives_the_closest_one(name: str, closest: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"unknown recipe or family .*; did you mean '{closest}'\?"):
        copy_recipe(name, tmp_path)
    assert written(tmp_path) == []


def test_family_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder for the family 'llama', got a file name"):
        copy_recipe("llama", tmp_path / "mine.yaml")


def test_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"adapt\.yaml: cannot be written"):
        copy_recipe("llama/adapt", tmp_path / "mine")


def test_a_disk_that_is_full_halfway_leaves_nothing_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_at_the_second(file: Path, text: str) -> None:
        if file.name == "baseline.yaml":
            raise OSError(28, "No space left on device")
        write_text(file, text)

    with monkeypatch.context() as patch:
        patch.setattr(recipe_files, "write_text", full_at_the_second)
        with pytest.raises(RefusedError, match=r"baseline\.yaml: cannot be written \(No space left on device\)"):
            copy_recipe("llama", tmp_path)
    assert written(tmp_path) == []
    copy_recipe("llama", tmp_path)
    assert len(written(tmp_path)) == 3


# A new family


@pytest.mark.parametrize("backbone", ["gemma-2-2b", "google/gemma-2-2b", "org/some-model-1.5b", "models/my model: v2"])
def test_new_family_is_valid_at_once(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = new_family("gemma2", backbone=backbone, target=Path("mine"))
    assert files == [Path("mine/gemma2") / f"{task}.yaml" for task in TASKS]
    for task, file in zip(TASKS, files, strict=True):
        recipe = read_recipe(str(file), task=task)  # type: ignore[arg-type]
        assert recipe.embedding.backbone == backbone
        lines = file.read_text(encoding="utf-8").splitlines()
        assert backbone in lines[0]
        assert lines[2].startswith(f"#   transferkit {task} mine/gemma2/{task}.yaml")


def test_new_family_is_a_built_in_text_with_other_names(tmp_path: Path) -> None:
    """Among the nearest widths the first name is taken, so the result is the same everywhere."""
    model, old = "llama", read_recipe("llama/train").embedding.backbone
    assert find_spec(str(old)).hidden_size < find_spec("gemma-2-2b").hidden_size
    for task, file in zip(TASKS, new_family("gemma2", backbone="gemma-2-2b", target=tmp_path), strict=True):
        text = file.read_text(encoding="utf-8").replace("gemma-2-2b", str(old))
        for one in TASKS:
            text = text.replace(str(tmp_path / "gemma2" / f"{one}.yaml"), f"{model}/{one}")
        assert text == whole(f"{model}/{task}")


def test_new_family_follows_the_same_architecture(tmp_path: Path) -> None:
    """It is wider than any family's backbone, yet the recipes for its architecture are the model."""
    files = new_family("phi4", backbone="phi-4", target=tmp_path)
    assert find_spec("phi-4").model_type == find_spec("phi-3-mini-4k").model_type
    assert read_recipe(str(files[0])).prompting.backbone == read_recipe("phi3/train").prompting.backbone
    assert read_recipe("phi3/train").prompting.backbone != read_recipe("gpt2/train").prompting.backbone


def test_new_family_of_an_unknown_backbone_follows_the_name(tmp_path: Path) -> None:
    for family, model in (("mistral-nemo", "mistral"), ("gpt3", "gpt2")):
        files = new_family(family, backbone="org/unknown", target=tmp_path)
        assert read_recipe(str(files[0])).prompting == read_recipe(f"{model}/train").prompting


def test_new_family_takes_a_spec_file(tmp_path: Path) -> None:
    spec = tmp_path / "own.yaml"
    facts = {
        "name": "own",
        "family": "own",
        "hub_id": "org/own",
        "model_type": "gpt_neox",
        "hidden_size": 2048,
    }
    spec.write_text(dump_yaml(facts), encoding="utf-8")
    files = new_family("own", backbone=str(spec), target=tmp_path / "mine")
    assert read_recipe(str(files[1])).embedding.backbone == str(spec)


@pytest.mark.parametrize("family", ["", "My Family", "a/b", "..", "-x", "Gemma2"])
def test_impossible_family_name_is_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="family: expected lower-case letters"):
        new_family(family, backbone="gemma-2-2b", target=tmp_path)
    assert written(tmp_path) == []


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a\x85b"])
def test_backbone_that_would_break_a_comment_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    with pytest.raises(ConfigError, match="backbone: expected a name on one line"):
        new_family("mine", backbone=name, target=Path("recipes"))
    assert not Path("recipes").exists()


def test_family_with_recipes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'qwen3' has built-in recipes; `transferkit recipes copy qwen3`"):
        new_family("qwen3", backbone="qwen3-4b", target=tmp_path)


def test_unknown_backbone_gives_the_closest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'gemma-2-2c'; did you mean 'gemma-2-2b'\?"):
        new_family("gemma2", backbone="gemma-2-2c", target=tmp_path)
    assert written(tmp_path) == []


def test_new_family_overwrites_nothing(tmp_path: Path) -> None:
    new_family("gemma2", backbone="gemma-2-2b", target=tmp_path)
    (tmp_path / "gemma2" / "train.yaml").unlink()
    with pytest.raises(ConfigError, match=r"adapt\.yaml: exists already"):
        new_family("gemma2", backbone="gemma-2-9b", target=tmp_path)
    assert written(tmp_path) == ["gemma2/adapt.yaml", "gemma2/baseline.yaml"]


def test_module_starts_without_torch() -> None:
    code = "import sys, transferkit.config.recipe_files; sys.exit(any(m in sys.modules for m in ('torch', 'peft')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
