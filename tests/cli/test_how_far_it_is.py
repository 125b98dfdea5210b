"""Every command that takes long says in a pipe how far it is, each by the same lines."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny import Tiny
from zoo import WORDS


@pytest.fixture(name="said")
def a_line_at_every_sign(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """What a command that succeeds writes to standard error, without the 30 seconds between two lines."""
    monkeypatch.setattr("transferkit.progress.EVERY", 0.0)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        assert call(*arguments) == 0
        return capsys.readouterr().err

    return run


def test_all_of_them(said: Callable[..., str], tiny: Tiny) -> None:
    Path("texts.txt").write_text("".join(f"{' '.join(WORDS[i : i + 4])}\n" for i in range(12)))
    taught = tiny.write(Path(), "baseline", teacher={"model": str(tiny.source)}, optim={"steps": 2})
    trained = said("baseline", taught, "--method", "lora", "--data-dir", tiny.data)
    (run,) = Path("runs").iterdir()
    for line in (
        f"{run.name}  the teacher reads  ",
        f"{run.name}  evaluates step 0  ",
        f"{run.name}  step 1 of 2  loss ",
        f"{run.name}  evaluates step 2  ",
    ):
        assert f"\n{line}" in trained
    assert "steps/s" in trained
    assert "texts/s" in trained
    assert " left\n" in trained
    frozen = tiny.write(Path(), "baseline", readout={"kind": "none"})
    assert "  reads the texts  16 of " in said("baseline", frozen, "--method", "frozen", "--data-dir", tiny.data)
    assert "\nv.npy  12 of 12 texts" in f"\n{said('embed', run, 'texts.txt', '--out', 'v.npy')}"
    assert "reading the texts  12 of 12 texts" in said("search", "a", "--checkpoint", run, "--texts", "texts.txt")
    assert "p.parquet  12 of 12 texts" in said("augment", "texts.txt", "--out", "p.parquet", "--noise", "swap")
    assert "attention  24 of 24 texts" in said("attention", run, "--texts", "texts.txt", "--instruction", "see")
