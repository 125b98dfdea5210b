"""A recipe on a base: how the two are merged, what is refused, and the whole text that comes of it."""

from pathlib import Path
from typing import Any

import pytest

from transferkit.config.recipe_text import whole_text
from transferkit.config.recipes import read_mapping, read_recipe
from transferkit.config.schema import parse_yaml
from transferkit.errors import ConfigError

BASE = """\
# What the recipes of my project share.
seed: 3                  # report three

embedding:               # the decoder
  backbone: qwen3-1.7b   # another one: --target
  # How it is read.
  pooling: mean          # soft | mean

data:
  # Local files.
  train:
    - {name: a, kind: pairs, path: a.csv}
    - {name: b, kind: pairs, path: b.csv}
  # One set.
  dev:
    - name: d
      kind: sts
      path: d.csv

# Not tuned.
optim:                   # AdamW
  steps: 10              # optimizer steps
  lr: 1e-4

tracking: none           # none | wandb
"""
OWN = """\
# Mine.
#
#   transferkit baseline mine.yaml
base: shared.yaml
task: baseline
method: lora             # the row

embedding:
  pooling: last
  layers: 2              # averaged

optim: {steps: 20, warmup_steps: 5}
"""
WHOLE = """\
# Mine.
#
#   transferkit baseline mine.yaml
task: baseline
method: lora             # the row
seed: 3                  # report three

embedding:               # the decoder
  backbone: qwen3-1.7b   # another one: --target
  # How it is read.
  pooling: last          # soft | mean
  layers: 2              # averaged

data:
  # Local files.
  train:
    - {name: a, kind: pairs, path: a.csv}
    - {name: b, kind: pairs, path: b.csv}
  # One set.
  dev:
    - name: d
      kind: sts
      path: d.csv

# Not tuned.
optim:                   # AdamW
  steps: 20              # optimizer steps
  lr: 1e-4
  warmup_steps: 5

tracking: none           # none | wandb
"""


def write(folder: Path, own: str = OWN, base: str = BASE) -> Path:
    (folder / "shared.yaml").write_text(base, encoding="utf-8")
    (folder / "mine.yaml").write_text(own, encoding="utf-8")
    return folder / "mine.yaml"


def test_sections_are_merged_and_comments_stay(tmp_path: Path) -> None:
    file = write(tmp_path)
    recipe = read_recipe(str(file))
    assert (recipe.seed, recipe.embedding.backbone, recipe.embedding.pooling) == (3, "qwen3-1.7b", "last")
    assert (recipe.optim.steps, recipe.optim.warmup_steps, recipe.optim.lr) == (20, 5, 1e-4)
    assert whole_text(file) == WHOLE
    copy = tmp_path / "copy.yaml"
    copy.write_text(WHOLE, encoding="utf-8")
    assert read_recipe(str(copy)) == recipe
    assert whole_text(copy) == WHOLE


def test_a_mistake_names_both_files(tmp_path: Path) -> None:
    file = write(tmp_path, base=BASE.replace("steps:", "stepz:"))
    with pytest.raises(ConfigError, match=rf"^{file} on shared\.yaml: optim\.stepz: unknown key 'stepz'; did you mean"):
        read_recipe(str(file))


def test_set_comes_after_the_merge(tmp_path: Path) -> None:
    recipe = read_recipe(str(write(tmp_path)), overrides=["optim.steps=30", "data.train.1.weight=2"])
    assert recipe.optim.steps == 30
    assert recipe.data.train[1].weight == 2
    with pytest.raises(ConfigError, match=r"--set base=x: a base is named in a file"):
        read_recipe(str(tmp_path / "mine.yaml"), overrides=["base=x"])


def test_lists_and_scalars_replace(tmp_path: Path) -> None:
    own = (
        "base: shared.yaml\ntask: baseline\ndata:\n  train:\n  - {name: c, kind: pairs, path: c.csv}\ntracking: wandb\n"
    )
    file = write(tmp_path, own)
    assert [one.name for one in read_recipe(str(file)).data.train] == ["c"]
    assert [one.name for one in read_recipe(str(file)).data.dev] == ["d"]
    text = whole_text(file)
    assert parse_yaml(text, where="whole") == read_mapping(file)
    assert text.startswith("# What the recipes of my project share.\n"), "without a comment of its own"
    assert "  # Local files.\n  train:\n  - {name: c" in text
    assert "tracking: wandb          # none | wandb\n" in text


@pytest.mark.parametrize(
    "own",
    [
        "base: shared.yaml\ntask: baseline\n",
        "task: baseline\nbase: shared.yaml\n\n# Rates.\noptim:\n    lr:   2e-4   # mine\n    # Long.\n    steps: 40\n",
        "task: baseline\nembedding: {pooling: max, template: 'so: {text}'}  # read so\nbase: shared.yaml",
        "{base: shared.yaml, task: baseline, optim: {lr: 1}}",
        "---\n# Mine.\nbase: shared.yaml\ntask: baseline\nembedding: &e\n  layers: 3\n",
        "base: shared.yaml\ntask: baseline\nseed: &n 4\nembedding:\n  layers: *n\n",
        "base: shared.yaml\ntask: baseline\nembedding:\n  template: >-\n    {text}\n    # so:\n\n  layers: 3\n",
        'base: "shared.yaml"\n"task": baseline\n\'seed\': 5 # five\nembedding: {"template": "{text} # {soft}"}\n',
        "base: shared.yaml\r\ntask: baseline\r\noptim:\r\n  steps: 7\r\n",
        "base: shared.yaml\ntask: baseline\nembedding:\n  template: 'a\u2028b {text}'\n",
        "base: shared.yaml\ntask: baseline\noptim:\n  {steps: 3,\n   lr: 1.0}\n",
        "base: shared.yaml\ntask: baseline\nseed: 4\nembedding:\n layers: 3\n",
        "base: shared.yaml\ntask: baseline\nembedding :  # mine\n  layers: 3\n",
        "base: shared.yaml\ntask: baseline\ndata: {on_bad_row: skip}\nfrozen: {templates: ['{text}',\n  '{text}.']}\n",
    ],
)
@pytest.mark.parametrize(
    "base",
    [
        BASE,
        BASE.replace(
            "optim:                   # AdamW\n  steps: 10              # optimizer steps\n  lr: 1e-4\n",
            "optim: {steps: 10, lr: 1e-4} # AdamW\n",
        ),
        # An own seed takes the anchor away on which another line builds.
        BASE.replace("seed: 3 ", "seed: &n 3 ")
        .replace("embedding: ", "embedding: &e ")
        .replace("steps: 10", "steps: *n"),
    ],
    ids=["block", "flow", "anchors"],
)
def test_whole_text_says_what_the_two_files_say(tmp_path: Path, own: str, base: str) -> None:
    file = tmp_path / "mine.yaml"
    (tmp_path / "shared.yaml").write_text(base, encoding="utf-8")
    file.write_bytes(own.encode())
    mapping = read_mapping(file)
    text = whole_text(file)
    assert parse_yaml(text, where="whole") == mapping
    assert read_recipe(str(file)).task == "baseline"
    assert "base:" not in text


def test_built_in_recipe_as_base_is_taken_whole(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: gpt2/train\noptim: {lr: 3e-5}\n", encoding="utf-8")
    expected = read_recipe("gpt2/train", overrides=["optim.lr=3e-5"])
    assert read_recipe(str(file)) == expected
    text = whole_text(file)
    assert "  lr: 3e-5                        # of the Prompting LLM" in text
    assert text.startswith("# Train a Prompting LLM on gpt2-medium")
    (tmp_path / "below" / "here").mkdir(parents=True)
    further = tmp_path / "below" / "here" / "other.yaml"
    further.write_text("base: base/adapt\nembedding: {backbone: gpt2}\n", encoding="utf-8")
    assert read_recipe(str(further)).embedding.backbone == "gpt2"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("qwen3/trian", r"base: no built-in recipe 'qwen3/trian'; did you mean 'qwen3/train'\?"),
        ("none.yaml", r"base: no file .*none\.yaml; a base is named relative to the file"),
        ("3", r"base: expected a built-in recipe or a \.yaml file, got 3"),
        ("[shared.yaml]", r"base: expected a built-in recipe or a \.yaml file, got \['shared\.yaml'\]"),
        ("", r"base: expected a built-in recipe or a \.yaml file, got nothing"),
        ("mine.yaml", r"base: .*mine\.yaml has a base itself, and there is one level alone; `transferkit recipes show"),
        ("second.yaml", r"base: .*second\.yaml has a base itself, and there is one level alone"),
        ("broken.yaml", r"broken\.yaml, line 2, column 1: not valid YAML"),
    ],
)
def test_wrong_base_is_one_sentence(tmp_path: Path, base: Any, message: str) -> None:
    file = write(tmp_path, OWN.replace("base: shared.yaml", f"base: {base}"))
    (tmp_path / "second.yaml").write_text("base: shared.yaml\n", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("a: [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(str(file))
    assert "\n" not in str(error.value)
