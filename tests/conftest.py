"""The environment of every test: offline, one thread, plain output of a fixed width."""

import functools
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.tiny import Tiny

# Before the first import of torch, which reads the number of threads once. Rich and typer read the rest.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", COLUMNS="200", NO_COLOR="1", TERM="dumb")
# bitsandbytes asks for compiled functions while it is imported, which brings torch's whole compiler along: seconds of
# every process that loads a model, and nothing here compiles.
os.environ["TORCHDYNAMO_DISABLE"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Work offline, unless ``-m`` asks for the tests that read the hub."""
    expression = config.option.markexpr
    wants_network = "network" in expression and "not network" not in expression
    os.environ["HF_HUB_OFFLINE"] = "0" if wants_network else "1"
    if not wants_network:
        from helpers.offline import refuse_connections

        refuse_connections()

    gc.disable()  # until all is collected: what is imported stays


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at libraries again: their million objects took longer than most tests.

    And let mteb ask once, not twice a score, which versions of packages are installed.
    """
    if (scores := sys.modules.get("mteb.cache.result_cache")) is not None:
        vars(scores)["_get_package_versions"] = functools.cache(vars(scores)["_get_package_versions"])
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def asks_no_other_machine() -> Iterator[None]:
    """Fail a test that wanted to reach another machine, also where a library took the refusal for an answer."""
    from helpers.offline import asked

    yield
    wanted = asked.copy()
    asked.clear()
    assert not wanted, f"wanted to reach {', '.join(wanted)}"


@pytest.fixture(scope="session", autouse=True)
def same_precision_on_every_machine() -> Iterator[Path]:
    """What ``precision: auto`` finds measured, in this process and in those that it starts: float32 is faster."""
    import torch

    from transferkit.decoder.device import CACHE, remember

    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE] = folder
        remember(torch.device("cpu"), 0.5)
        yield Path(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """Tiny decoders, data and recipes, made once a worker; tests must not write into it."""
    from helpers.tiny import make

    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def checkpoints(tiny: "Tiny", tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> its checkpoint; tests must not write into it."""
    from helpers.checkpoints import one_of_each  # after `pytest_configure`, which sets what libraries read at import

    return one_of_each(tiny, tmp_path_factory.mktemp("checkpoints"))
