"""The lock of an output: whoever has it is told apart from a place that takes none."""

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from transferkit.errors import ConfigError, RefusedError
from transferkit.files.lock import sole_use


def test_who_has_it_keeps_others_out_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with (
        sole_use(out),
        pytest.raises(ConfigError, match=r"another process is writing to it; .* another with --out"),
        sole_use(out, option="--out"),
    ):
        raise AssertionError("two have it")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_lock_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(lock: FileLock, *_: Any) -> None:  # as below /proc, where no file can be made
        raise Timeout(lock.lock_file)

    monkeypatch.setattr("transferkit.files.lock.FileLock.acquire", never)
    with (
        pytest.raises(RefusedError, match=r"out: cannot write there \(No such file.*another with --out"),
        sole_use(tmp_path / "out", option="--out"),
    ):
        raise AssertionError("it was made")
