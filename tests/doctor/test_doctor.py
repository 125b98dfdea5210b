"""The doctor: what it says of a machine that is in order, and of each fault; the exit code; what it must not touch."""

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import bitsandbytes
import pytest
import torch
from helpers.command_line import call as call_with
from huggingface_hub import constants
from packaging.specifiers import SpecifierSet

import transferkit
from transferkit.decoder.device import CACHE
from transferkit.doctor import examine as module
from transferkit.doctor import kernels, machine, network, packages, places
from transferkit.doctor.examine import examine
from transferkit.doctor.findings import GIB, Finding, in_words
from transferkit.files.locations import COPIES

AREAS = ["versions", "devices", "4-bit", "memory", "disk", "caches", "network"]


@pytest.fixture(name="call")
def make_call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    return partial(call_with, monkeypatch)


def named(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in findings}


# The whole


def test_this_machine_computes_rightly(tmp_path: Path) -> None:
    found = list(examine(runs=tmp_path, offline=True))
    assert list(dict.fromkeys(one.area for one in found)) == AREAS
    wrong = [one for one in found if one.state == "wrong" and one.area in ("versions", "devices", "4-bit")]
    assert not wrong
    assert list(tmp_path.iterdir()) == []


FOUND = [
    Finding("versions", "rich", "ok", "15.0.0"),
    Finding("disk", "runs", "ok", "[bold]runs[/bold]: 9.0 GiB free"),
    Finding("network", "hub", "note", "not reachable", "work offline"),
]


def test_the_command_prints_a_table_and_what_to_do(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "examine", lambda **_: iter(FOUND))
    assert call("doctor") == 0
    shown = capsys.readouterr().out
    assert "as tested: rich 15.0.0" in shown
    assert "[bold]runs[/bold]: 9.0 GiB free" in shown  # text from outside is no markup
    assert shown.splitlines()[-2:] == ["network: hub: work offline", "nothing is wrong here"]
    monkeypatch.setattr(module, "examine", lambda **_: iter(FOUND[1:]))
    assert call("doctor") == 0
    assert "as tested" not in capsys.readouterr().out
    faults = [*FOUND, Finding("versions", "torch", "wrong", "not installed", "pip install 'torch>=2.6'")]
    monkeypatch.setattr(module, "examine", lambda **_: iter(faults))
    assert call("doctor") == 1
    end = ["versions: torch: pip install 'torch>=2.6'", "network: hub: work offline", "1 thing to mend"]
    assert capsys.readouterr().out.splitlines()[-3:] == end


def test_json_is_an_object_a_finding(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "examine", lambda **_: iter(FOUND))
    assert call("doctor", "--json") == 0
    assert [Finding(**json.loads(line)) for line in capsys.readouterr().out.splitlines()] == FOUND


def test_options_arrive(call: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(module, "examine", lambda **options: given.update(options) or iter(FOUND))
    assert call("doctor", "--runs", "elsewhere", "--offline") == 0
    assert given == {"runs": Path("elsewhere"), "offline": True}


def test_what_cannot_be_looked_at_is_a_fault_and_the_rest_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken() -> Iterator[Finding]:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(module, "examine_devices", broken)
    found = list(examine(runs=tmp_path, offline=True))
    (fault,) = [one for one in found if one.area == "devices"]
    assert (fault.state, fault.found) == ("wrong", "cannot be looked at (ZeroDivisionError: by zero)")
    assert {one.area for one in found} == set(AREAS)


def test_without_torch_it_says_so_and_exits_with_1() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['transferkit', 'doctor', '--offline', '--json']\n"
        "from transferkit.cli.app import main; main()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(transferkit.__file__).parents[1])}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == ""
    found = [Finding(**json.loads(line)) for line in process.stdout.splitlines()]
    (devices,) = [one for one in found if one.area == "devices"]
    assert devices.state == "wrong"
    assert "torch" in devices.found
    assert [one.state for one in found if one.area == "network"] == ["skipped"]


# Versions


def versions(monkeypatch: pytest.MonkeyPatch, **installed: str | None) -> dict[str, Finding]:
    """Findings where some packages have other versions; None: they are not installed."""
    there = packages._installed
    monkeypatch.setattr(packages, "_installed", lambda name: installed[name] if name in installed else there(name))
    return named(packages.examine_packages())


@pytest.mark.parametrize(
    ("package", "version", "state", "says", "advice"),
    [
        ("torch", None, "wrong", "not installed, allowed >=2.6", "pip install 'torch>=2.6'"),
        ("torch", "2.5.1", "wrong", "2.5.1, allowed >=2.6", "pip install 'torch>=2.6'"),
        ("torch", "2.13.0+cu130", "ok", "2.13.0+cu130", None),
        ("torch", "2.14.0.dev1", "note", "2.14.0.dev1, allowed; tested with 2.13.0", None),
        ("transformers", "6.0.0", "wrong", "6.0.0, allowed <6,>=5.16", "pip install 'transformers<6,>=5.16'"),
        ("gguf", "0.9", "wrong", "0.9, allowed >=0.10", "pip install 'gguf>=0.10'"),
        ("numpy", "no version", "wrong", "no version, allowed >=1.26", "pip install 'numpy>=1.26'"),
    ],
)
def test_a_version(
    package: str, version: str | None, state: str, says: str, advice: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = versions(monkeypatch, **{package: version})[package]
    assert (found.state, found.found, found.advice) == (state, says, advice)


def test_an_extra_that_is_not_installed_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gguf" not in versions(monkeypatch, gguf=None)


def test_an_old_python_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.10.4")
    found = named(packages.examine_packages())["python"]
    assert (found.state, found.found) == ("wrong", "3.10.4, allowed >=3.11")


def test_an_installed_package_knows_by_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2.6", "pydantic<3,>=2.7", 'gguf>=0.10; extra == "gguf"', 'mypy; extra == "dev"']
    lines += ['mteb<3,>=2.26; extra == "mteb"', 'mteb<3,>=2.26; extra == "dev"', 'tomli; python_version < "3"']
    monkeypatch.setattr(packages, "checkout", lambda: None)
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(metadata, "metadata", lambda name: {"Requires-Python": ">=3.11"})
    python, requirements = packages._declared()
    assert python == SpecifierSet(">=3.11")
    assert [(one.name, is_extra) for one, is_extra in requirements] == [
        ("torch", False),
        ("pydantic", False),
        ("gguf", True),
        ("mteb", True),
    ]


def test_every_package_that_must_be_there_has_a_tested_version() -> None:
    tested = packages.tested_versions()
    _, requirements = packages._declared()
    must = [packages._normal(one.name) for one, is_extra in requirements if not is_extra]
    assert len(must) > 15
    assert set(must) <= set(tested)


def test_an_installation_without_the_tested_versions_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "checkout", lambda: None)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda path: None))
    found = next(packages.examine_packages())
    assert (found.name, found.state, found.advice) == ("transferkit", "wrong", "install transferkit again")


# Devices and kernels


def test_a_device_that_does_not_compute_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*shape: int, **options: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", refuse)
    found = named(machine.examine_devices())["cpu"]
    assert found.state == "wrong"
    assert "does not compute (no kernel image is available)" in found.found


def test_a_device_that_computes_wrong_sums_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *size, **options: torch.full(size, 2.0, **options))
    found = named(machine.examine_devices())["cpu"]
    assert found.state == "wrong"
    assert found.found.endswith("; does not compute (wrong sums)")


def test_a_driver_that_this_torch_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert named(machine.examine_devices())["cuda"].state == "note"
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "none")
    assert "cuda" not in named(machine.examine_devices())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_four_bits_are_right_here(dtype: torch.dtype) -> None:
    errors = kernels.nf4_errors(torch.device("cpu"), dtype)
    assert errors.are_small
    assert 0.05 < errors.weights < 0.15  # of nf4 on normal weights; 0 would mean that nothing was quantised
    assert errors.gradient < 1e-5 or dtype == torch.bfloat16


class Turned(torch.autograd.Function):
    """The right output with the gradient of something else."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0].flip(1)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        (lambda out: Turned.apply(out), "gradient"),
        (lambda out: out * 1.05, "forward"),
        (lambda out: out * float("nan"), "forward"),
    ],
)
def test_a_wrong_kernel_is_seen(
    changed: Callable[[torch.Tensor], torch.Tensor], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = bitsandbytes.nn.Linear4bit.forward
    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", lambda self, x: changed(forward(self, x)))
    assert getattr(kernels.nf4_errors(torch.device("cpu"), torch.float32), wrong) > 0.02
    found = named(kernels.examine_kernels())["nf4 on cpu, float32"]
    assert found.state == "wrong"
    assert found.advice is not None
    assert "--quantize nf4" in found.advice


def test_a_kernel_that_does_not_run_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    found = list(kernels.examine_kernels())
    assert {one.state for one in found} == {"wrong"}
    assert "does not run" in found[0].found


# Memory, disk, caches


def test_a_container_has_the_memory_of_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {64 * 2**20} kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "memory.max")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**24, "SC_PAGE_SIZE": 2**12}.__getitem__)
    for limit, expected in (("max\n", "64.0 GiB free of 64.0 GiB"), (f"{4 * GIB}\n", "3.0 GiB free of 4.0 GiB")):
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text(f"{GIB}\n")
        assert named(machine.examine_memory())["cpu"].found == expected
    (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
    assert named(machine.examine_memory())["cpu"].state == "note"


def test_a_system_that_does_not_tell_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_memory", lambda: (None, None))
    assert named(machine.examine_memory())["cpu"].state == "skipped"
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / "none")
    assert machine._processor() == (platform.processor() or platform.machine())


@pytest.mark.parametrize(("free", "state"), [(GIB - 1, "wrong"), (2 * GIB, "note"), (6 * GIB, "ok")])
def test_room_on_the_disk(free: int, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    found = named(places.examine_disk(tmp_path / "not" / "there"))
    assert found["runs"].state == state
    assert f"{in_words(free)} free" in found["runs"].found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE, str(tmp_path / "file" / "cache"))
    found = named(places.examine_disk(tmp_path / "file" / "runs"))
    for name, option in (("runs", "--runs"), ("cache", CACHE)):
        assert found[name].state == "wrong"
        assert "cannot be written" in found[name].found
        assert option in (found[name].advice or "")


def test_what_lies_in_the_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine, hub = tmp_path / "mine", tmp_path / "hub"
    (mine / "decoders").mkdir(parents=True)
    (mine / "precision.json").write_text("x" * 1024)
    (mine / "decoders" / "a").write_text("x" * 1024)
    blob = hub / "models--a--b" / "blobs" / "1"
    blob.parent.mkdir(parents=True)
    blob.write_text("x" * 3 * 2**20)
    (hub / "models--a--b" / "model.safetensors").symlink_to(blob)
    monkeypatch.setenv(CACHE, str(mine))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "none"))
    found = named(places.examine_caches())
    assert found["transferkit"].found == f"{mine}: 2.0 KiB in 2 files"
    assert found["hub"].found == f"{hub}: 3.0 MiB in 1 files, 1 model"
    assert found["datasets"].found == f"{tmp_path / 'none'}: not there yet"
    assert COPIES not in found
    monkeypatch.setenv(COPIES, str(mine))
    assert named(places.examine_caches())[COPIES].found == f"{mine}: 2.0 KiB in 2 files"
    monkeypatch.setenv(COPIES, str(tmp_path / "none"))
    monkeypatch.setenv(CACHE, str(blob))
    found = named(places.examine_caches())
    assert {found[name].state for name in (COPIES, "transferkit")} == {"wrong"}


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(36, "File name too long")], ids=lambda one: one.strerror
)
def test_a_folder_that_may_not_be_entered_is_a_fault_and_the_others_are_looked_at(
    error: OSError, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed, real = tmp_path / "closed" / "inner", Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if path == closed:
            raise error
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setenv(CACHE, str(closed))
    for found in (named(places.examine_disk(closed)), named(places.examine_caches())):
        assert found.pop("hub").state in ("ok", "note")
        faults = [found[name] for name in ("runs", "cache", "transferkit") if name in found]
        assert {(one.state, str(error.strerror) in one.found) for one in faults} == {("wrong", True)}
        assert not any("install" in str(one.advice) for one in faults)


def test_a_user_without_a_home_needs_another_folder(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As in a container that runs under a number that no list of users knows."""
    monkeypatch.delenv(CACHE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    found = named(places.examine_disk(tmp_path))
    assert (found["cache"].state, found["cache"].advice) == ("wrong", f"name one with {CACHE}")
    assert {"hub", "datasets"} <= named(places.examine_caches()).keys()
    assert call("demo", "--runs", str(tmp_path)) == 2
    assert capsys.readouterr().err.endswith(
        f"this user has no home, and so no folder for caches; name one with {CACHE}\n"
    )


# The network


@pytest.fixture(name="online")
def allow_asking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Finding]:
    """What is found where the hub has this address."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "_SECONDS", 0.2)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def ask(address: str) -> Finding:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        return named(network.examine_network(offline=False))["hub"]

    return ask


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (401, "ok"), (503, "note")])
def test_a_hub_that_answers(status: int, state: str, online: Callable[[str], Finding]) -> None:
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert online(f"http://127.0.0.1:{server.server_port}").state == state
        server.shutdown()


def test_a_hub_that_does_not_answer_is_no_fault(online: Callable[[str], Finding]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert online(address).state == "note"
    gone = online(address)
    assert gone.state == "note"
    assert "not reachable" in gone.found
    assert online("no address").state == "note"


@pytest.mark.parametrize("why", ["--offline", "HF_HUB_OFFLINE is set"])
def test_offline_no_socket_is_opened(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", why != "--offline")
    monkeypatch.setattr(socket, "socket", opened)
    monkeypatch.setattr(network, "urlopen", opened)
    (found,) = network.examine_network(offline=why == "--offline")
    assert found.state == "skipped"
    assert found.found.endswith(f"not asked ({why})")
