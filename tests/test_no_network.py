"""What lies on this machine is worked on without a connection to another one, whatever the hub's settings say."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from helpers import offline
from helpers.set_folders import write_sets
from helpers.tiny import Tiny

import transferkit

COMMANDS = """
import sys

from helpers.offline import asked, refuse_connections

refuse_connections()

from transferkit.cli.app import main

for command in sys.argv[1].splitlines():
    sys.argv = ["transferkit", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, command
    assert not asked, f"{command}: {asked}"
"""


def test_the_guard_sees_a_connection_and_a_name() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo("example.org", 80)
    assert [one.split()[0] for one in offline.asked] == ["socket.getaddrinfo"] * 2
    offline.asked.clear()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert not offline.asked  # processes of one machine may meet


@pytest.mark.slow  # conftest.py watches the default suite
def test_local_work_asks_nobody(tiny: Tiny, tmp_path: Path) -> None:
    """Not kept offline by a setting: nothing is asked, because nothing needs to be."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("intents", "intents_dev"):
        pandas.read_csv(tiny.data / f"{name}.csv").to_parquet(data / f"{name}.parquet")
    given = {
        "train": [{"name": "intents", "kind": "labelled", "path": "intents.parquet", "instruction": "see"}],
        "dev": [{"name": "intents", "kind": "knn", "path": "intents_dev.parquet", "train_path": "intents.parquet"}],
    }
    for task in ("train", "adapt", "baseline"):
        tiny.write(tmp_path, task, data=given, optim={"steps": 2})
    write_sets(tmp_path / "sets")
    run = "--data-dir data --quiet --runs"
    commands = f"""train train.yaml {run} source
        adapt adapt.yaml --source RUN {run} adapted
        baseline baseline.yaml --method lora {run} lora
        embed bundled data/intents.parquet --out vectors.parquet --quiet
        search cat --checkpoint bundled --texts data/intents.parquet
        evaluate bundled tfidf --tasks-from sets --tasks likeness --out scores --quiet
        recipes list
        backbones probe {tiny.target}"""
    # A run's folder is named after the time; the first word of a glob is enough here.
    script = COMMANDS.replace(
        "command.split()",
        '(str(next(Path("source").glob("[!.]*"))) if word == "RUN" else word for word in command.split())',
    ).replace("import sys\n", "import sys\nfrom pathlib import Path\n", 1)
    package, tests = Path(transferkit.__file__).parents[1], Path(__file__).parent
    settings = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", script, commands],
        cwd=tmp_path,
        env=settings | {"PYTHONPATH": f"{package}{os.pathsep}{tests}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
