"""The environment of every test: offline, one thread, plain output of a fixed width."""

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.tiny import Tiny

# Before the first import of torch, which reads the number of threads once. Rich and typer read the rest.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", COLUMNS="200", NO_COLOR="1", TERM="dumb")


def pytest_configure(config: pytest.Config) -> None:
    """Work offline, unless ``-m`` asks for the tests that read the hub."""
    expression = config.option.markexpr
    wants_network = "network" in expression and "not network" not in expression
    os.environ["HF_HUB_OFFLINE"] = "0" if wants_network else "1"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """Tiny decoders, data and recipes, made once a worker; tests must not write into it."""
    from helpers.tiny import make

    return make(tmp_path_factory.mktemp("tiny"))
