"""Augmenting a file: what is written and counted, going on after a kill, and a recipe that trains on the result."""

import io
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from helpers.augment_models import save_t5
from helpers.tiny import Tiny
from rich.console import Console
from zoo import WORDS

from transferkit.augment import run as augment_run
from transferkit.augment.backtranslate import BackTranslationWay
from transferkit.augment.candidates import Way
from transferkit.augment.noise import Noise, NoiseWay
from transferkit.augment.pair_file import PairFile, read_footer
from transferkit.augment.paraphrase import ParaphraseWay
from transferkit.augment.prompts import ParaphrasePrompt
from transferkit.augment.run import BATCHES_PER_BLOCK, augment_file, train_set, train_set_yaml
from transferkit.augment.settings import Limits, Sampling, Setup
from transferkit.cli.app import main
from transferkit.config.recipe import Recipe
from transferkit.config.recipe_text import whole_text
from transferkit.config.recipes import read_recipe, recipe_path
from transferkit.config.schema import parse
from transferkit.data.training_sets import load_training_data
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use

BLOCK = 2 * BATCHES_PER_BLOCK  # texts, at the batch size used here
TEXTS = BLOCK * 5 // 2
SETUP = Setup(Sampling(samples=2), seed=3, batch_size=2)
NOISE: list[Way] = [NoiseWay("deletion", rate=0.2), NoiseWay("swap", rate=0.2)]
COLUMNS = ["anchor", "positive", "kind", "model", "revision", "weights_sha256", "prompt", "seed", "row"]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Two and a half blocks; one text is a single word, one of two words stands in the first and in the last block."""
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) + f" {i}" for i in range(TEXTS)]
    rows[5], rows[7], rows[2 * BLOCK + 3] = "cat", "red cat", "red cat"
    return rows


@pytest.fixture
def source(texts: list[str], tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n")
    return file


def augment(source: Path | str, out: Path, ways: list[Way] | None = None, **options: Any) -> Any:
    given: dict[str, Any] = {"setup": SETUP, "console": Console(quiet=True)} | options
    return augment_file(str(source), out, NOISE if ways is None else ways, **given)


@contextmanager
def failing(target: str, number: int, error: BaseException) -> Iterator[None]:
    """The ``number``-th call of ``module.function`` raises, as a kill or a full disk would stop it."""
    module, _, name = target.rpartition(".")
    real: Any = getattr(sys.modules[module], name)
    calls = iter(range(1, 1000))

    def fail(*arguments: Any, **more: Any) -> Any:
        if next(calls) == number:
            raise error
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, fail)
        yield


def killed(source: Path, out: Path, *, at: str = "transferkit.files.parts.flush", number: int = 2) -> None:
    """Leave what a kill leaves while block ``number`` is being written."""
    with failing(at, number, SystemError("killed")), pytest.raises(SystemError):
        augment(source, out)


def parts(folder: Path) -> list[tuple[str, bytes]]:
    """What lies beside an output that is not finished."""
    return sorted((path.name, path.read_bytes()) for path in folder.glob(".out.parquet.part*"))


def blocks_kept(out: Path) -> int:
    """Blocks of the part beside ``out`` that count."""
    progress = out.with_name(f".{out.name}.part.json")
    if not progress.exists():
        return 0
    counted = out.with_name(f".{out.name}.part").read_bytes()[: json.loads(progress.read_text())["bytes"]]
    with pa.ipc.open_stream(counted) as stream:
        return sum(1 for _ in stream)


def test_rows_name_their_source_and_how_they_were_made(source: Path, texts: list[str], tmp_path: Path) -> None:
    tally = augment(source, tmp_path / "p.parquet")
    pairs = pd.read_parquet(tmp_path / "p.parquet")
    assert list(pairs.columns) == COLUMNS
    assert len(pairs) == tally.pairs
    assert [texts[row - 1] for row in pairs["row"]] == list(pairs["anchor"])
    assert pairs["row"].is_monotonic_increasing
    assert set(pairs["kind"]) == {"deletion", "swap"}
    assert pairs[["model", "revision", "weights_sha256", "prompt"]].isna().all(axis=None)
    for kind, row, seed, positive in zip(pairs["kind"], pairs["row"], pairs["seed"], pairs["positive"], strict=True):
        rng = np.random.default_rng(seed)
        changed = Noise(kind, rate=0.2, samples=1, seed=0).change(texts[row - 1].split(), 0.2, rng)
        assert positive == " ".join(changed), "the seed of a row gives its positive again"


def test_every_candidate_is_a_pair_or_counted_with_its_reason(source: Path, texts: list[str], tmp_path: Path) -> None:
    tally = augment(source, tmp_path / "p.parquet")
    pairs = pd.read_parquet(tmp_path / "p.parquet")
    assert tally.texts == TEXTS
    assert tally.kept == dict(Counter(pairs["kind"]))
    for kind in ("deletion", "swap"):
        assert tally.kept[kind] + sum(tally.rejected[kind].values()) == 2 * TEXTS
        assert tally.rejected[kind]["nothing to change"] == 2  # the text of one word
    assert not pairs.duplicated(["anchor", "positive"]).any()
    assert list(pairs["positive"]).count("cat red") == 1, "two words can be swapped in one way alone"


def test_the_footer_holds_settings_and_counts(source: Path, tmp_path: Path) -> None:
    tally = augment(source, tmp_path / "p.parquet", limit=20)
    footer = read_footer(tmp_path / "p.parquet")
    assert (footer["texts"], footer["kept"], footer["rejected"]) == (20, tally.kept, tally.rejected)
    assert footer["sampling"] == {"samples": 2, "temperature": 0.8, "top_p": 0.95, "max_tokens": 128}
    assert (footer["seed"], footer["batch_sizes"], footer["swap"]) == (3, [2], {"rate": 0.2})
    assert footer["filters"]["min_overlap"] == Limits().min_overlap


def test_the_seed_decides_and_the_batch_size_does_not_change_noise(source: Path, tmp_path: Path) -> None:
    made = {}
    for name, setup in {
        "first": SETUP,
        "again": SETUP,
        "other": Setup(SETUP.sampling, seed=4, batch_size=2),
        "wide": Setup(SETUP.sampling, seed=3, batch_size=7),
    }.items():
        augment(source, tmp_path / f"{name}.parquet", setup=setup)
        made[name] = pd.read_parquet(tmp_path / f"{name}.parquet")
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    assert not made["first"].equals(made["other"])
    assert made["first"].equals(made["wide"])


@pytest.mark.parametrize(
    ("at", "number", "blocks"),
    [
        ("transferkit.files.parts.flush", 1, 0),  # a block is written but does not count yet
        ("transferkit.files.parts.flush", 3, 2),
        ("transferkit.files.parts.flush", 4, 3),  # all blocks are there, the output is half written
        ("transferkit.augment.run.texts_sha256", 2, 1),  # its candidates are made, nothing is written
    ],
)
def test_the_same_command_goes_on_and_ends_with_the_same_bytes(
    at: str, number: int, blocks: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    tally = augment(source, whole)
    killed(source, out, at=at, number=number)
    assert not out.exists()
    assert blocks_kept(out) == blocks

    made = []
    call = Noise.__call__
    monkeypatch.setattr(Noise, "__call__", lambda self, sources: made.append(len(sources)) or call(self, sources))
    assert augment(source, out) == tally
    assert sum(made) == 2 * (TEXTS - min(blocks * BLOCK, TEXTS)), "finished blocks are not made again"
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "texts.txt", "whole.parquet"]


@pytest.mark.slow
def test_models_go_on_with_the_same_bytes_too(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    prompt = ParaphrasePrompt(name="again", source="test", chat="{text}", completion="{text}\n")
    t5 = str(save_t5(tmp_path / "t5"))
    setup = Setup(Sampling(temperature=4.0, max_tokens=20), batch_size=1)
    options: dict[str, Any] = {
        "ways": [ParaphraseWay(str(tiny.source), prompts=[prompt]), BackTranslationWay(t5, t5), *NOISE],
        "setup": setup,
        "limits": Limits(min_overlap=0.0),  # nothing that random models write is near
        "limit": BATCHES_PER_BLOCK + 4,
    }
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    tally = augment(source, whole, **options)
    with failing("transferkit.files.parts.flush", 2, SystemError("killed")), pytest.raises(SystemError):
        augment(source, out, **options)
    assert augment(source, out, **options) == tally
    assert out.read_bytes() == whole.read_bytes()
    assert set(tally.rejected) == {"paraphrase", "back-translation", "deletion", "swap"}
    assert tally.kept["paraphrase"] > 0, "premise: something that a model wrote is in the file"
    written = pd.read_parquet(out).query("kind == 'paraphrase'")
    assert set(written["model"]) == {"source"}
    assert set(written["prompt"]) == {"again"}
    assert written["weights_sha256"].str.len().eq(64).all()


def test_going_on_with_anything_else_is_refused_and_nothing_is_lost(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    killed(source, out)
    before = parts(tmp_path)
    assert len(before) == 2  # the premise
    other = Setup(Sampling(samples=3), seed=4, batch_size=2)
    with pytest.raises(
        ConfigError, match=r"begun with other settings \(seed: 3, now 4, sampling\); give the same command"
    ):
        augment(source, out, setup=other)
    with pytest.raises(ConfigError, match=r"other settings \(swap: \{\"rate\": 0.2\}, now none\)"):
        augment(source, out, NOISE[:1])
    with pytest.raises(ConfigError, match=r"other settings \(limit: null, now 50, filters\)"):
        augment(source, out, limit=50, limits=Limits(max_overlap=0.8))
    source.write_text(source.read_text() + "one more\n")
    with pytest.raises(ConfigError, match=r"other settings \(input\)"):
        augment(source, out)
    assert parts(tmp_path) == before


def test_standard_input_is_compared_with_what_was_read_before(
    source: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipe(lines: list[str]) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))

    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    pipe(texts)
    augment("-", whole)
    pipe(texts)
    killed(Path("-"), out)
    pipe(["another one", *texts[1:]])
    with pytest.raises(ConfigError, match="begun with other texts; give the same, or remove it"):
        augment("-", out)
    pipe(texts)
    augment("-", out)
    assert out.read_bytes() == whole.read_bytes()


def test_another_batch_size_may_go_on(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    augment(source, whole)
    killed(source, out)
    augment(source, out, setup=Setup(SETUP.sampling, seed=3, batch_size=1))
    assert pd.read_parquet(out).equals(pd.read_parquet(whole))
    assert read_footer(out)["batch_sizes"] == [1, 2]


@pytest.mark.parametrize("what", ["cut", "overwritten"])
def test_a_damaged_part_is_named(what: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    killed(source, out)
    part = tmp_path / ".out.parquet.part"
    content, counted = part.read_bytes(), json.loads((tmp_path / ".out.parquet.part.json").read_text())["bytes"]
    part.write_bytes(content[: counted - 9] if what == "cut" else bytes(len(content)))
    before = parts(tmp_path)
    with pytest.raises(ConfigError, match=r"\.out\.parquet\.part: damaged.*remove it"):
        augment(source, out)
    if what == "cut":
        assert parts(tmp_path) == before


def test_a_folder_of_blocks_that_an_earlier_version_left_is_refused_and_kept(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / ".out.parquet.part"
    folder.mkdir()
    (folder / "identity.json").write_text('{"format": 1, "identity": {}}')
    with pytest.raises(ConfigError, match=r"\.part: damaged, or of another version of transferkit; remove it to start"):
        augment(source, tmp_path / "out.parquet")
    assert [path.name for path in folder.iterdir()] == ["identity.json"]


def test_blocks_of_other_settings_that_a_kill_left_behind_do_not_get_in(source: Path, tmp_path: Path) -> None:
    """A removal that is killed may have taken the settings and left the blocks."""
    pure, out = tmp_path / "pure.parquet", tmp_path / "out.parquet"
    augment(source, pure)
    other = Setup(SETUP.sampling, seed=SETUP.seed + 1, batch_size=SETUP.batch_size)
    with failing("transferkit.augment.run.texts_sha256", 3, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        augment(source, out, setup=other)
    assert blocks_kept(out) == 2  # the premise
    (tmp_path / ".out.parquet.part.json").unlink()
    with failing("transferkit.augment.run.texts_sha256", 2, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        augment(source, out)
    augment(source, out)
    assert out.read_bytes() == pure.read_bytes()


def test_a_full_disk_keeps_what_was_done(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    full = OSError(28, "No space left on device")
    message = r"No space left on device\); the \d\d+ pairs before are kept, make room and go on with the same command$"
    with failing("transferkit.files.parts.flush", 2, full), pytest.raises(RunError, match=message):
        augment(source, out)
    assert augment(source, out).texts == TEXTS


def test_a_full_device_names_a_smaller_batch(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Noise, sources: object) -> Iterator[None]:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Noise, "__call__", full)
        with pytest.raises(RunError, match=r"out of memory at 2 texts a forward pass.*--batch-size 1"):
            augment(source, tmp_path / "out.parquet")


def test_an_interruption_says_that_nothing_is_lost(source: Path, tmp_path: Path) -> None:
    message = "pairs are kept, the same command goes on where this one stopped"
    with (
        failing("transferkit.augment.run.texts_sha256", 2, KeyboardInterrupt()),
        pytest.raises(KeyboardInterrupt, match=message),
    ):
        augment(source, tmp_path / "out.parquet")


def test_an_output_belongs_to_one_process(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.parquet"
    with sole_use(out), pytest.raises(ConfigError, match=r"pairs\.parquet: another process is writing to it; .* --out"):
        augment(source, out)
    assert not list(tmp_path.glob("*pairs*"))
    augment(source, out)


def test_no_pair_at_all_is_told_with_the_reasons(tmp_path: Path) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("cat\ndog\n")
    with pytest.raises(RunError, match=r"no pair is left of 2 texts \(8 nothing to change\); .* is not written"):
        augment(source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]


def test_an_embedder_judges_what_models_write(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = ParaphrasePrompt(name="again", source="test", chat="{text}", completion="{text}\n")
    ways: list[Way] = [ParaphraseWay(str(tiny.source), prompts=[prompt])]
    setup = Setup(Sampling(samples=3, temperature=4.0, max_tokens=20), batch_size=1)
    calibrated: list[float] = []
    for name, least in (("strict", None), ("loose", -1.0)):
        limits = Limits(embedder=str(tiny.target), min_similarity=least)
        tally = augment(source, tmp_path / f"{name}.parquet", [*ways, *NOISE], setup=setup, limits=limits, limit=20)
        footer = read_footer(tmp_path / f"{name}.parquet")
        calibrated.append(footer["min_similarity"])
        assert len(footer["filters"]["embedder"]) == 64
        far = tally.rejected["paraphrase"].get("too far", 0)
        assert (far > 0) == (least is None), "random texts are far, and nothing is farther than -1"
    assert -1 < calibrated[0] < 1
    assert calibrated[1] == -1


def test_a_recipe_trains_on_the_file(source: Path, texts: list[str], tmp_path: Path) -> None:
    out = tmp_path / "my pairs.parquet"
    tally = augment(source, out)
    text = whole_text(recipe_path("mixture/train"))
    pasted = text.replace("  train:\n", f"  train:\n{train_set_yaml(out)}", 1)
    recipe = parse(Recipe, yaml.safe_load(pasted), where="pasted")
    assert len(recipe.data.train) == len(parse(Recipe, yaml.safe_load(text), where="before").data.train) + 1
    first = recipe.data.train[0]
    assert first.model_dump(exclude_unset=True) == train_set(out)

    data = load_training_data(recipe.data.model_copy(update={"train": [first]}), data_dir=None, batch_size=4, seed=0)
    assert data.facts()["sets"]["my pairs"]["rows"] == tally.pairs
    batch = data.batch(0)
    known = dict(zip(*(list(pd.read_parquet(out)[column]) for column in ("positive", "anchor")), strict=True))
    assert all(known[positive] == anchor for anchor, positive in zip(batch.anchors, batch.positives, strict=True))
    assert set(batch.anchors) <= set(texts)


def test_the_line_in_a_recipes_header_makes_what_it_trains_on(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = recipe_path("roth/baseline").read_text(encoding="utf-8").partition("\ntask:")[0]
    (line,) = re.findall(r"transferkit augment .+?(?=\n#\n)", header, re.DOTALL)
    command = shlex.split(line.replace("\\\n#", " ").replace("DATA/", f"{tmp_path}/"))
    titles = Path(command[2])
    titles.parent.mkdir(parents=True)
    pd.DataFrame({"query": texts, "positive": texts}).to_parquet(titles)
    monkeypatch.setattr(sys, "argv", [*command, "--quiet"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    recipe = read_recipe("roth/baseline")
    data = load_training_data(recipe.data, data_dir=tmp_path, batch_size=4, seed=0)
    assert data.facts()["sets"]["arxiv_titles"]["rows"] > TEXTS
    assert set(data.batch(0).anchors) <= set(texts)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ways": []}, "needs a way to make pairs: --llm MODEL"),
        ({"ways": [*NOISE, NoiseWay("swap", rate=0.5)]}, r"a way is given twice \(deletion, swap, swap\)"),
        ({"out": "x.csv"}, r"--out .*x\.csv: expected a file ending in \.parquet, got '\.csv'"),
        ({"out": "texts.txt.parquet"}, "exists already; remove it or choose another name"),
        ({"out": "texts.txt/x.parquet"}, r"cannot write there \(.*texts\.txt is a file\); choose another with --out"),
        ({"limits": Limits(max_overlap=0.2, min_overlap=0.2)}, "--min-overlap 0.2: expected less than --max-overlap"),
        ({"limits": Limits(min_similarity=0.5)}, "--min-similarity: a cosine needs an embedder"),
        ({"limits": Limits(embedder="none")}, "unknown backbone 'none'"),
    ],
)
def test_wrong_settings_leave_nothing_behind(options: dict[str, Any], says: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt.parquet").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    given = {**options, "out": tmp_path / options.get("out", "p.parquet")}
    with pytest.raises(ConfigError, match=says):
        augment(source, **given)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--noise swap --temperature 0.5", "--temperature is for pairs that a model writes; give --llm, or --forward"),
        ("--noise swap --embedder x --min-similarity 0.9", "--embedder is for pairs that a model writes"),
        ("--noise swap --max-overlap 0.5", "--max-overlap is for pairs that a model writes"),
        ("--llm x --noise-rate 0.2", "--noise-rate is for --noise, which is not given"),
        ("--llm x --embedder x --min-overlap 0.2", "--min-overlap: --embedder judges instead of common words"),
        ("--temperature 0.5", "augment needs a way to make pairs"),
    ],
)
def test_an_option_that_changes_no_pair_is_refused(
    options: str,
    says: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["transferkit", "augment", str(source), "--out", str(tmp_path / "p.parquet"), *options.split()]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {says}")


def test_blocks_hold_no_more_than_a_block(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    append = PairFile.append

    def counted(self: PairFile, pairs: Any, block: Any) -> None:
        sizes.append(block.tally.texts)
        append(self, pairs, block)

    monkeypatch.setattr(augment_run.PairFile, "append", counted)
    augment(source, tmp_path / "p.parquet")
    assert sizes == [BLOCK, BLOCK, TEXTS - 2 * BLOCK]


def test_streams_of_the_command(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(name: str, *options: str) -> tuple[str, str]:
        command = ["transferkit", "augment", str(source), "--out", str(tmp_path / name), "--limit", "20"]
        monkeypatch.setattr(sys, "argv", [*command, "--noise", "swap", "--noise", "deletion", *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        captured = capsys.readouterr()
        return captured.out, captured.err

    stdout, stderr = call("a.parquet")
    assert yaml.safe_load(stdout) == [train_set(tmp_path / "a.parquet")]
    rows = {line.split("  ")[0]: line.split()[-2:] for line in stderr.splitlines()}
    footer = read_footer(tmp_path / "a.parquet")
    assert rows["candidates"] == ["20", "20"]
    assert rows["pairs"] == [str(footer["kept"][kind]) for kind in ("swap", "deletion")]
    assert rows["nothing to change"] == ["1", "1"]

    stdout, stderr = call("b.parquet", "--json", "--quiet")
    said = json.loads(stdout)
    assert stderr == ""
    assert (said["kept"], said["rejected"], said["texts"]) == (footer["kept"], footer["rejected"], 20)
    assert said["train_set"] == train_set(tmp_path / "b.parquet")


def test_an_input_without_a_text_and_a_file_of_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(ConfigError, match="holds no texts, expected at least one"):
        augment("-", tmp_path / "pairs.parquet")
    assert not (tmp_path / "pairs.parquet").exists()
    pd.DataFrame({"anchor": ["x"]}).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(ConfigError, match=r"mine\.parquet: damaged, or not written by transferkit augment"):
        read_footer(tmp_path / "mine.parquet")
