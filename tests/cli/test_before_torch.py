"""What is wrong with a command line is said in the second before torch is imported."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from zoo import WORDS

import transferkit

# One process for all of them: each ends before torch, or is stopped at it and said by name.
_TRIED = """
import io, json, shlex, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.abc import MetaPathFinder

class Wanted(BaseException):
    pass

class Refuse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("torch", "transformers", "accelerate", "sklearn"):
            raise Wanted(name)

sys.meta_path.insert(0, Refuse())
from transferkit.cli.app import main
for line in json.load(sys.stdin):
    said, code = io.StringIO(), None
    sys.argv = ["transferkit", *shlex.split(line)]
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        code = end.code
    except Wanted as wanted:
        code = f"wanted {wanted}"
    print(json.dumps([code, said.getvalue(), "torch" in sys.modules]))
"""
TARGET = "--target bundled-llama-5m"
OWN = f"{TARGET} --data data.csv"
CARRY = "adapt --source bundled"
REFUSED = {  # command line -> how the sentence goes
    # a name
    "trian": "Did you mean 'train'?",
    "train --nope": "No such option: --nope",
    f"train mixture/trian {TARGET}": "did you mean 'mixture/train'?",
    "train mixture/train --target bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    "train mixture/train --target ./nowhere": "./nowhere: no such model folder",
    f"train mixture/train {TARGET} --set optim.stepz=3": "did you mean 'steps'?",
    f"train mixture/train {TARGET} --quantize nf5": "did you mean 'nf4'?",
    f"train mixture/train {OWN} --set prompting.backbone=bundled-qwen3-3m": "did you mean 'bundled-qwen3-2m'?",
    f"train mixture/train {OWN} --teacher bundeld": "teacher.model: unknown backbone 'bundeld'",
    f"{CARRY} --target bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    f"{CARRY} --target ./nowhere --data data.csv": "./nowhere: no such model folder",
    f"{CARRY} {OWN} --label lable": "did you mean 'label'?",
    f"{CARRY} {OWN} --set embedding.pooling=maen": "did you mean 'mean'?",
    f"{CARRY} {OWN} --set embedding.template=plian": "did you mean 'plain'?",
    f"{CARRY} {TARGET} --unlabelled data.csv --column nope": "no column 'nope'",
    f"{CARRY} {TARGET} --unlabelled texts.txt --column nope": "no column 'nope'",
    f"baseline mixture/baseline --method lroa {TARGET}": "did you mean 'lora'?",
    "baseline --method lora --target ./nowhere --data data.csv": "./nowhere: no such model folder",
    f"baseline --method encoder {OWN}": "bundled-llama-5m: not a local folder of sentence-transformers",
    "evaluate bundled-lama-5m --tasks A": "did you mean 'bundled-llama-5m'?",
    "evaluate bundled --tasks-from . --template plian": "did you mean 'plain'?",
    "attention bundled-lama-5m --text x": "did you mean 'bundled-llama-5m'?",
    "attention bundled-llama-5m --text x --template plian": "did you mean 'plain'?",
    "attention bundled-llama-5m --text x --pooling maen": "did you mean 'mean'?",
    "augment texts.txt --out p.parquet --noise deletoin": "did you mean 'deletion'?",
    "augment texts.txt --out p.parquet --llm bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    "augment texts.txt --out p.parquet --llm bundled-llama-5m --prompt nope": "nope",
    "embed bundled data.csv --out v.npy --column nope": "no column 'nope'",
    "search a --texts data.csv --column nope": "no column 'nope'",
    "demo --decoder bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    "backbones show bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    "recipes show qwen3/trian": "did you mean 'qwen3/train'?",
    "recipes new --family mine --backbone bundled-lama-5m": "did you mean 'bundled-llama-5m'?",
    # a file or folder that is not there
    f"train mixture/train {TARGET} --data nowhere.csv": "nowhere.csv: no such file",
    f"train mixture/train {TARGET} --data-dir nowhere": "clinc150/train.parquet: no such file",
    f"train mixture/train {OWN} --teacher nowhere.npy": "nowhere.npy: no such file",
    "train --resume nowhere": "nowhere: not a run folder",
    f"adapt --source nowhere {TARGET}": "nowhere: no such checkpoint or run folder",
    f"adapt --source nowhere {OWN}": "nowhere: no such checkpoint or run folder",
    f"{CARRY} {TARGET} --unlabelled nowhere.txt": "nowhere.txt: no such file",
    "compare nowhere": "nowhere: not a run folder",
    "study nowhere.yaml": "nowhere.yaml: no such file",
    "study study.yaml": "did you mean 'bundled-llama-5m'?",
    "evaluate ./nowhere --tasks A": "./nowhere: no such model folder",
    "evaluate bundled --tasks-from nowhere": "--tasks-from nowhere: no such folder",
    "augment nowhere.txt --out p.parquet --noise deletion": "nowhere.txt: no such file",
    "augment texts.txt --out p.parquet --llm bundled-llama-5m --embedder ./nowhere": "./nowhere: no such model folder",
    "augment texts.txt --out p.parquet --forward ./nowhere --backward ./nowhere": "./nowhere: no such model folder",
    "augment texts.txt --out p.parquet --llm bundled-llama-5m --prompts nowhere.yaml": "nowhere.yaml: no such file",
    "embed nowhere texts.txt --out v.npy": "nowhere: no such checkpoint or run folder",
    "embed bundled nowhere.txt --out v.npy": "nowhere.txt: no such file",
    "embed bundled texts.txt --out v.npy --space nowhere": "nowhere: no such checkpoint or run folder",
    "embed bundled texts.txt --out v.npy --backbone ./nowhere": "./nowhere: no such model folder",
    "search a --checkpoint nowhere": "nowhere: no such checkpoint or run folder",
    "search a --texts nowhere.txt": "nowhere.txt: no such file",
    "search a --vectors nowhere.npy": "--vectors nowhere.npy: no such file",
    "bridge nowhere bundled --texts texts.txt": "nowhere: no such checkpoint or run folder",
    "bridge nowhere.npy bundled": "nowhere.npy: no such file",
    "bridge bundled bundled --texts nowhere.txt": "nowhere.txt: no such file",
    "attention ./nowhere --text x": "./nowhere: no such model folder",
    "attention bundled --texts nowhere.txt": "nowhere.txt: no such file",
    "attention bundled --text x --stop-words nowhere.txt": "nowhere.txt",
    "demo --decoder ./nowhere": "./nowhere: no such model folder",
    "backbones probe ./nowhere": "./nowhere: no such model folder",
    # what would be written
    f"{CARRY} {OWN} --runs data.csv": "data.csv: cannot write there",
    "augment texts.txt --out p.csv --noise deletion": "expected a file ending in .parquet",
    "embed bundled texts.txt --out v.csv": "expected a file ending in .npy",
    "evaluate bundled --tasks A --out data.csv": "data.csv: cannot write there",
    "search a --texts texts.txt --index data.csv": "data.csv: cannot write there",
    "search a --vectors texts.txt": "expected a file ending in .npy",
    "bridge bundled bundled --texts texts.txt --to data.csv": "data.csv: exists already",
    "attention bundled --text x --out data.csv": "data.csv: cannot write there",
    "demo --runs data.csv": "data.csv: cannot write there",
    "backbones probe ./nowhere --write x.csv": "expected a new file ending in .yaml",
    # what is no decoder
    "train mixture/train --target ready-made --data data.csv": "an encoder (bert) and no decoder",
    "adapt --source bundled --target ready-made --data data.csv": "an encoder (bert) and no decoder",
    "baseline --method lora --target ready-made --data data.csv": "RECIPE --method encoder --target ready-made`",
    "baseline --method frozen --target bert --data data.csv": "SentenceTransformer('bert').save(FOLDER)",
    f"train mixture/train {OWN} --set prompting.backbone=bert": "an encoder (bert) and no decoder",
    "adapt --source bundled --target t5 --data data.csv": "an encoder-decoder (t5)",
    "adapt --source bundled --target vit --data data.csv": "a model that reads no text (vit, without a vocabulary)",
    "backbones probe bert": "an encoder (bert) and no decoder",
    "demo --decoder bert": "an encoder (bert) and no decoder",
    # and what does not go together
    "search ' '": "the question is empty",
    "search --texts -": "--texts - takes standard input",
    "augment texts.txt --out p.parquet": "augment needs a way to make pairs",
}


@pytest.fixture(name="here", scope="module")
def make_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("here")
    rows = [f"{WORDS[i % 7]} {WORDS[i % 11]} {i},{'ab'[i % 2]}\n" for i in range(200)]
    (here / "data.csv").write_text("text,label\n" + "".join(rows))
    (here / "texts.txt").write_text("a b c\nd e f\n")
    (here / "study.yaml").write_text(
        "seeds: [1]\nruns: [{name: a, recipe: mixture/baseline, targets: [bundled-lama-5m], set: {method: frozen}}]\n"
    )
    for name, config in {
        "bert": {"model_type": "bert", "vocab_size": 9, "hidden_size": 4},
        "t5": {"model_type": "t5", "vocab_size": 9, "is_encoder_decoder": True},
        "vit": {"model_type": "vit", "hidden_size": 4, "image_size": 8},
    }.items():
        (here / name).mkdir()
        (here / name / "config.json").write_text(json.dumps(config))
    shutil.copytree(here / "bert", here / "ready-made")
    (here / "ready-made" / "modules.json").write_text("[]")
    return here


def tried(lines: Iterable[str], here: Path) -> list[tuple[object, str, bool]]:
    """Of each command line its exit code, what it said, and whether torch was imported."""
    process = subprocess.run(
        [sys.executable, "-c", _TRIED],
        input=json.dumps(list(lines)),
        capture_output=True,
        text=True,
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(Path(transferkit.__file__).parents[1])},
        check=True,
    )
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_wrong_input_is_refused_before_torch(here: Path) -> None:
    before = sorted(here.rglob("*"))
    wrong = []
    for (line, says), (code, said, has_torch) in zip(REFUSED.items(), tried(REFUSED, here), strict=True):
        if code != 2 or has_torch or says not in " ".join(said.split()):
            wrong.append((line, code, said))
    assert not wrong
    assert sorted(here.rglob("*")) == before


def test_a_heavy_import_would_be_seen(here: Path) -> None:
    ((code, _, has_torch),) = tried(["embed bundled texts.txt --out v.npy"], here)
    assert (code, has_torch) == ("wanted torch", False)
