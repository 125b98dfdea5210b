"""Run one recipe from start to finish inside a run folder: what train, adapt and baseline share."""

import json
import platform
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from transferkit.checkpoints.checkpoint import DESCRIPTION, checkpoint_folder, describe_backbone, given_folder, save
from transferkit.config.recipe import Recipe, recipe_yaml, with_names
from transferkit.config.recipes import read_recipe
from transferkit.config.specs import BackboneSpec
from transferkit.data.dev_sets import DevSetData, load_dev_sets
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.decoder.loading import num_parameters
from transferkit.errors import ConfigError, RunError
from transferkit.files.builtin import BUNDLED
from transferkit.files.environment import environment
from transferkit.files.json import read_json, write_json, write_text
from transferkit.files.lock import sole_use
from transferkit.files.manifest import sha256_file
from transferkit.files.writable import check_writable
from transferkit.methods.baselines import PromptingAlone
from transferkit.methods.build import Built, Variant, build, resolve_recipe, variants
from transferkit.methods.embedder import BackboneEmbedder, Embedder
from transferkit.methods.tfidf import Tfidf
from transferkit.progress import Progress, say
from transferkit.runs.folder import FORMAT, begin_in, new_run_folder, read_record, write_metrics
from transferkit.training.distributed import from_main, is_main
from transferkit.training.loop import Fitted, Interrupted, fit, peak_memory_bytes, reset_peak_memory
from transferkit.training.scoring import Evaluation, Scorer
from transferkit.training.state import drop_states

_TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
_LARGE_SAMPLE = 200_000  # texts that TF-IDF takes its words from at most


@dataclass(frozen=True)
class Inputs:
    """What a run is given besides its recipe; kept in the record until it is done, for ``--resume``."""

    source: Path | None = None
    data_dir: Path | None = None


def start(recipe: Recipe, inputs: Inputs, *, runs: Path, console: Console, name: str | None = None) -> Path:
    """Run ``recipe`` in a new folder below ``runs``; returns that folder.

    Everything that can be wrong with the input is found before the folder is made.

    Args:
        recipe: what to run; what it leaves open is filled from source and spec.
        inputs: source checkpoint and data folder.
        runs: where the folder is made.
        console: for progress.
        name: of the folder; None: method, backbone and time.

    Raises:
        ConfigError, RunError: see :mod:`transferkit.errors`; also where another process has the folder, or a run is in
            it.
        Interrupted: stopped by the user; the folder can be resumed.
    """
    check_writable(runs)
    if inputs.source is not None:
        inputs = replace(inputs, source=given_folder(inputs.source))
    recipe, spec = resolve_recipe(recipe, source=inputs.source)
    prepared = Prepared.load(recipe, spec, inputs)
    target = "" if spec is None else f"-{spec.name}"
    automatic = f"{recipe.method or recipe.task}{target}"
    # A name of one's own may be another process's too, so that folder is made under the lock.
    folder = runs / name if name else from_main(new_run_folder(runs, automatic) if is_main() else None)
    return prepared.run(folder, console)


def resume(folder: Path, *, console: Console) -> Path:
    """Continue an interrupted run from its newest state; a finished one is left as it is.

    Raises:
        ConfigError: not a run folder, changed data or models, or another process has it.
    """
    record = read_record(folder)
    if record["status"] == "done":
        say(f"{folder}: already done, nothing to resume", console)
        return folder
    given = record.get("inputs") or {}
    inputs = Inputs(**{key: Path(given[key]) if given.get(key) else None for key in ("source", "data_dir")})
    recipe, spec = resolve_recipe(read_recipe(str(folder / "recipe.yaml")), source=inputs.source)
    prepared = Prepared.load(recipe, spec, inputs)
    prepared.check_unchanged(folder, record)
    return prepared.run(folder, console, begun=record)


@dataclass
class Prepared:
    """Data and model in memory, nothing written yet."""

    recipe: Recipe
    spec: BackboneSpec | None
    inputs: Inputs
    accelerator: Accelerator
    data: TrainingData
    dev_sets: list[DevSetData]
    built: Built | None
    source_facts: dict[str, Any] | None
    load_seconds: float

    @classmethod
    def load(cls, recipe: Recipe, spec: BackboneSpec | None, inputs: Inputs) -> "Prepared":
        """Read the data and build the method of a resolved recipe."""
        started = perf_counter()
        log_with = None if recipe.tracking == "none" else recipe.tracking
        if log_with is not None and not any(map(find_spec, _TRACKERS[log_with])):
            raise ConfigError(
                f"tracking: {log_with!r} is not installed; `pip install {log_with}`, or set tracking: none"
            )
        accelerator = Accelerator(log_with=log_with, project_dir="runs")
        if recipe.optim.batch_size % accelerator.num_processes:
            raise ConfigError(
                f"optim.batch_size: {recipe.optim.batch_size} is not divisible by {accelerator.num_processes} processes"
            )
        data = load_training_data(
            recipe.data, data_dir=inputs.data_dir, batch_size=recipe.optim.batch_size, seed=recipe.seed
        )
        dev_sets = load_dev_sets(recipe.data, data_dir=inputs.data_dir)
        torch.manual_seed(recipe.seed)
        built = (
            None if recipe.method == "tfidf" else build(recipe, spec, source=inputs.source, device=accelerator.device)
        )
        reset_peak_memory()  # the peak is that of training, not of loading, checking or an earlier run
        facts = None if inputs.source is None else source_facts(inputs.source)
        return cls(recipe, spec, inputs, accelerator, data, dev_sets, built, facts, perf_counter() - started)

    def check_unchanged(self, folder: Path, old: dict[str, Any]) -> None:
        """Refuse to continue a run on anything but what it began with.

        Raises:
            ConfigError: names what differs from the record ``old``.
        """
        new = self.record(folder)
        for what, section, key in (
            ("training data", "data", "train_sha256"),
            ("dev sets", "data", "dev_sha256"),
            ("source checkpoint", "source", "sha256"),
            ("backbone's config", "backbone", "config_sha256"),
            ("backbone's tokenizer", "backbone", "tokenizer_sha256"),
            ("backbone's weights", "backbone", "weights_sha256"),
        ):
            if (old[section] or {}).get(key) != (new[section] or {}).get(key):
                raise ConfigError(f"{folder}: the {what} changed since this run began; put it back, or start a new run")

    def run(self, folder: Path, console: Console, *, begun: dict[str, Any] | None = None) -> Path:
        """Train or measure, and leave ``folder`` finished; ``begun`` is the record of the run that is continued."""
        with sole_use(folder) if is_main() else nullcontext():
            if begun is None and is_main():
                begin_in(folder)
                write_text(folder / "recipe.yaml", recipe_yaml(self.recipe))
            if begun is None or from_main(read_record(folder)["status"] if is_main() else None) != "done":
                self._run(folder, console, begun)
        return folder

    def _run(self, folder: Path, console: Console, begun: dict[str, Any] | None) -> None:
        record = self.record(folder)
        if begun is not None:
            record = _continued(record, begun)
        _write_record(folder, record)
        console = console if is_main() else Console(quiet=True)
        say(self.summary(), console)
        sample = self.data.sample(self.recipe.readout.sample, self.recipe.seed)
        scorer = Scorer(
            self.dev_sets, sample=sample, readout=self.recipe.readout, batch_size=self.recipe.eval.batch_size
        )
        progress = Progress(console, steps=self.recipe.optim.steps, title=folder.name, live=console.is_terminal)
        with progress:
            for warning in record["data"]["warnings"]:
                progress.warn(warning)
            try:
                if self.built is None or not self.built.embedder.trainable():
                    outcome = self._measure(folder, scorer, progress)
                else:
                    outcome = self._train(folder, scorer, progress)
            except (Interrupted, KeyboardInterrupt):  # the second one outside of the training loop
                _write_record(folder, record | {"status": "interrupted"})
                raise Interrupted(folder) from None
            except Exception as error:
                failure = _in_words(error, folder)
                with suppress(OSError):  # the disk may be what failed
                    _write_record(folder, record | {"status": "failed", "error": str(failure)})
                if failure is error:
                    raise
                raise failure from error
        record |= {"status": "done", "finished_at": now(), "peak_memory_bytes": peak_memory_bytes()}
        record["inputs"] = None  # there is nothing to resume, and places on one machine tell another one nothing
        record["timings"] |= outcome.pop("timings")
        record |= outcome
        _write_record(folder, record)
        if is_main():
            drop_states(folder)

    @property
    def label(self) -> str:
        """What the run's rows are called."""
        return self.built.label if self.built else "TF-IDF"

    def summary(self) -> str:
        """One line on what runs: which path, how exact, how many parameters train."""
        if self.built is None:
            return self.label
        embedder = self.built.embedder
        parts = [self.label]
        if isinstance(embedder, BackboneEmbedder):
            backbone = embedder.backbone
            exactness = backbone.exactness
            path = embedder.path
            errors = exactness.cached_errors if path == "cached" else exactness.full_errors
            parts.append(f"{backbone.spec.name}, {path} path with relative error {max(errors):.0e}")
            if backbone.quantized_layers:
                parts.append(f"{backbone.quantized_layers} layers in 4 bits")
        learned = num_parameters(p for group in embedder.trainable().values() for p in group)
        parts.append(f"{learned:,} trainable parameters")
        return "; ".join(parts)

    def _train(self, folder: Path, scorer: Scorer, progress: Progress) -> dict[str, Any]:
        assert self.built is not None
        embedder = self.built.embedder
        tracker = self._tracker(folder)
        fitted: Fitted = fit(
            embedder, self.recipe, self.data, scorer, folder=folder, tracker=tracker, progress=progress
        )
        started = perf_counter()
        embedder.eval()
        embedder.readout = scorer.fit(embedder)
        readout_seconds = perf_counter() - started
        self._save(embedder, folder)
        progress.kept(fitted.best.step, fitted.best.score, steps=self.recipe.optim.steps)
        if tracker is not None:
            tracker.end_training()
        state = fitted.state
        return {
            "best": {"step": fitted.best.step, "score": fitted.best.score},
            "timings": {
                "cache_seconds": state.cache_seconds,
                "train_seconds": state.seconds,
                "evaluation_seconds": state.evaluation_seconds,
                "readout_seconds": readout_seconds,
            },
            "warnings": state.warnings,
        }

    def _measure(self, folder: Path, scorer: Scorer, progress: Progress) -> dict[str, Any]:
        """Score every variant of a method without training; the best one becomes the checkpoint."""
        started = perf_counter()
        ways: Iterable[tuple[Any, Sequence[Variant | None]]]
        if self.built is None:
            texts, _ = self.data.sample(_LARGE_SAMPLE, self.recipe.seed)
            ways = [(Tfidf(texts), [None])]
            scorer.readout = scorer.readout.model_copy(update={"kind": "none"})
        else:
            ways = variants(self.recipe, self.built)
        rows: list[dict[str, Any]] = []
        best: tuple[float, str | None] | None = None
        for reader, found in ways:
            vectors = scorer.read(reader)
            for variant in found:
                evaluation = scorer.score(vectors if variant is None else vectors.part(variant.part))
                name = None if variant is None else variant.name
                rows.append(_untrained_row(name, evaluation))
                if is_main():
                    write_metrics(folder, rows)
                progress.evaluated(rows[-1])
                if best is None or evaluation.selecting > best[0]:
                    best = (evaluation.selecting, name)
                    if variant is not None:
                        variant.embedder.readout = evaluation.readout or variant.embedder.readout
                        self._save(variant.embedder, folder)
        assert best is not None
        return {
            "best": {"step": 0, "score": best[0], "variant": best[1]},
            "timings": {"cache_seconds": 0.0, "train_seconds": 0.0, "evaluation_seconds": perf_counter() - started},
        }

    def _save(self, embedder: Embedder, folder: Path) -> None:
        if not is_main():
            return
        instructions = {one.name: one.instruction or "" for one in self.recipe.data.train}
        documents = {one.spec.name: one.document_instruction for one in self.data.sets}
        shares = self.recipe.task == "adapt" or isinstance(embedder, PromptingAlone)
        source = self.inputs.source
        # A source that was replaced meanwhile holds another Prompting LLM than the one in memory: do not link that.
        if not shares or source is None or not source.exists() or source_facts(source) != self.source_facts:
            source = None
        save(
            embedder,
            folder / "checkpoint",
            instructions=instructions,
            document_instructions=documents,
            prompting_from=source,
            lineage=self.lineage(),
        )

    def _tracker(self, folder: Path) -> Accelerator | None:
        if self.recipe.tracking == "none":
            return None
        self.accelerator.project_configuration.logging_dir = str(folder)
        self.accelerator.init_trackers("transferkit", init_kwargs={"wandb": {"name": folder.name}})
        return self.accelerator

    def lineage(self) -> str:
        """Hash of what was trained, from what and on what, without the seed: equal for the seeds of one experiment."""
        built, source = self.built, self.source_facts
        facts = {} if built is None else built.facts
        weights = [
            (_backbone_facts(built.embedder if built else None) or {}).get("weights_sha256"),
            facts.get("prompting_weights_sha256"),
            *(one["weights_sha256"] for one in facts.get("alignment", {}).get("more_backbones", [])),
            source and (source["lineage"] or source["sha256"]),
        ]
        recipe = with_names(self.recipe, _without_place)
        settings = json.loads(recipe.model_dump_json(exclude={"seed", "save_every", "tracking", "data"}))
        instructions = [[one.spec.instruction, one.document_instruction] for one in self.data.sets]
        everything = [settings, weights, instructions, self.data.facts()["sha256"]]
        return _sha256_lines([json.dumps(everything, sort_keys=True)])

    def record(self, folder: Path) -> dict[str, Any]:
        """Everything that is known before the first step."""
        recipe, built = self.recipe, self.built
        embedder = built.embedder if built else None
        learned = [] if embedder is None else [p for group in embedder.trainable().values() for p in group]
        every = [] if embedder is None else list(embedder.parameters())
        return {
            "format": FORMAT,
            "run": folder.name,
            "task": recipe.task,
            "method": recipe.method or {"adapt": "transfer", "train": "source"}[recipe.task],
            "label": self.label,
            "status": "running",
            "created_at": now(),
            "resumed": [],
            "seed": recipe.seed,
            "source": self.source_facts,
            "inputs": {
                key: None if value is None else str(value.resolve()) for key, value in asdict(self.inputs).items()
            },
            "backbone": _backbone_facts(embedder),
            "prompting": recipe.prompting.model_dump() if recipe.task != "baseline" else None,
            "data": data_facts(self.data, self.dev_sets),
            "parameters": {"trainable": num_parameters(learned), "total": num_parameters(every)},
            "timings": {"load_seconds": self.load_seconds},
            "peak_memory_bytes": None,
            "device": str(self.accelerator.device),
            "device_name": device_name(self.accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": self.accelerator.num_processes,
            **(built.facts if built else {}),
            **environment(),
        }


def data_facts(data: TrainingData, dev_sets: list[DevSetData]) -> dict[str, Any]:
    """What was trained on and measured, with hashes that tell whether two runs may be compared."""
    facts = data.facts()
    dev = [
        {"name": d.name, "kind": d.kind, "select": d.select, "texts": len(d.texts), "sha256": d.sha256}
        for d in dev_sets
    ]
    return {
        "train_sha256": facts["sha256"],
        "dev_sha256": _sha256_lines([f"{d['name']} {d['select']} {d['sha256']}" for d in dev]),
        "train": [{"name": name, **one} for name, one in facts["sets"].items()],
        "dev": dev,
        "warnings": facts["warnings"],
    }


def _in_words(error: Exception, folder: Path) -> Exception:
    """What the machine refused, as a :class:`RunError`; any other error as it is."""
    if isinstance(error, torch.OutOfMemoryError):
        return RunError(
            f"{folder}: out of GPU memory; start again with optim.micro_batch_size (fewer texts a pass, the same "
            "negatives), a lower eval.batch_size or embedding.max_length"
        )
    if isinstance(error, OSError):
        return RunError(
            f"{error.filename or folder}: {error.strerror or error}; mend that, then continue with --resume {folder}"
        )
    return error


def _continued(record: dict[str, Any], begun: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that another process began: what that one said of itself stands, this one is noted."""
    here = {key: record[key] for key in ("command", "git", "versions")}
    kept = {key: begun[key] for key in ("created_at", *here)}
    if kept["git"] is not None and here["git"] is not None:
        kept["git"] |= {"dirty": kept["git"]["dirty"] or here["git"]["dirty"]}  # one step under such code is enough
    return record | kept | {"resumed": [*begun.get("resumed", []), {"at": record["created_at"], **here}]}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    if is_main():
        write_json(folder / "record.json", record)


def device_name(device: torch.device) -> str:
    """Which processor it is: seconds on two of them cannot be compared."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def now() -> str:
    """UTC time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _backbone_facts(embedder: Embedder | None) -> dict[str, Any] | None:
    if not isinstance(embedder, BackboneEmbedder):
        return None
    facts = describe_backbone(embedder)
    spec, backbone = facts.pop("spec"), embedder.backbone
    return {
        "name": spec["name"],
        "location": backbone.spec.where,
        "revision": spec.get("revision") or getattr(backbone.trunk.config, "_commit_hash", None),
        **facts.pop("identity"),
        **facts,
        "num_parameters": num_parameters(backbone.trunk.parameters()),
        "quantized_layers": backbone.quantized_layers,
        "path": embedder.path,
    }


def source_facts(source: Path) -> dict[str, Any]:
    """What tells the source of a run from another: its run or ``bundled``, the hash of its checkpoint, its lineage."""
    folder = checkpoint_folder(source)
    run = folder.parent.name if folder.name == "checkpoint" else folder.name
    if folder == checkpoint_folder(BUNDLED):
        run = BUNDLED.name
    return {
        "run": run,
        "sha256": sha256_file(folder / "manifest.json"),
        "lineage": read_json(folder / DESCRIPTION).get("lineage"),
    }


def _without_place(name: str) -> str:
    """A local backbone by the last part of its path: where it lies is no part of an experiment, its weights are."""
    return Path(name).name if Path(name).is_absolute() else name


def _untrained_row(name: str | None, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "step": 0,
        "examples": 0,
        "tokens": 0,
        "seconds": 0.0,
        "loss": None,
        "collapse": None,
        "variant": name,
        **evaluation.row(),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _sha256_lines(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()
