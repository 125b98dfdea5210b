"""What a run says of the machine and of its texts: memory that runs out, texts cut, a start that was not kept."""

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.parts import prompt_embedder
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.decoder.exactness import Exactness
from transferkit.errors import ConfigError, RunError
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runner.verdict import verdict
from transferkit.runs.folder import read_record, read_run


def test_memory_that_runs_out_in_a_step_names_what_needs_less(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transferkit.training.step.batch_loss", full)
    with pytest.raises(RunError, match=r"run: out of GPU memory; start again with optim\.micro_batch_size"):
        start(
            tiny.recipe("baseline", method="prompt-tuning"),
            Inputs(data_dir=tiny.data),
            runs=tmp_path,
            name="run",
            console=QUIET,
        )
    record = read_record(tmp_path / "run")
    assert record["status"] == "failed"
    assert "out of GPU memory" in record["error"]


def test_texts_that_are_cut_before_they_are_measured_are_told(tiny: Tiny, tmp_path: Path) -> None:
    said = StringIO()
    recipe = tiny.recipe("baseline", method="frozen", embedding={"max_length": 3})
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=Console(file=said, width=400))
    (cut,) = read_run(folder).record["cut_texts"]
    assert cut["cut"] > 0
    assert "cut" in said.getvalue()


def test_without_the_evidence_of_its_start_nothing_is_judged() -> None:
    """A run that an earlier version began."""
    best, scorer = SimpleNamespace(evidence=None), SimpleNamespace()
    fitted: Any = SimpleNamespace(best=best, state=SimpleNamespace(start=None))
    assert verdict(SimpleNamespace(), fitted, scorer, floors={}) is None  # type: ignore[arg-type]


def test_a_decoder_whose_padded_rows_are_not_exact_reads_what_needs_none(tiny: Tiny) -> None:
    """Soft tokens that stand last are read on the cached text; all else is refused, and it is no rival of its own."""
    embedder: Any = prompt_embedder(tiny, template="{text}{soft}")
    assert "the frozen decoder" in embedder.rivals()
    embedder.backbone.__dict__["exactness"] = Exactness((0.0, 0.0), (1.0, 1.0), (1e-3, 1e-3))
    assert "the frozen decoder" not in embedder.rivals()
    assert embedder.encode(["a cat", "a red cat"]).shape == (2, 48)
    behind = embedder.reader.behind("{soft}{text}")
    with pytest.raises(ConfigError, match=r"needs a full pass over padded rows, which is not exact on this decoder"):
        behind(behind.rows(["a cat", "a red cat"], ["", ""]), torch.zeros(2, 3, behind.decoder.embedding_width))
