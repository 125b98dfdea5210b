"""Wrong GGUF files: what is written as ``x.gguf``, how it is called, and what the error must say."""

from collections.abc import Callable
from pathlib import Path

from helpers.gguf_files import gguf_family, write_gguf, write_other
from zoo import build

from wrong import inputs as spoil
from wrong.inputs import Case, Spoil, World

KNOWN = "transformers"  # what names the version, and after it the decoders that it takes


def sound(change: Callable[[Path], None] = lambda file: None, **options: object) -> Spoil:
    """A whole tiny Llama, then ``change``; ``options`` as for :func:`write_gguf`."""

    def spoil(world: World) -> None:
        file = world.here / "x.gguf"
        write_gguf(build(gguf_family("llama")), "llama", file, **options)  # type: ignore[arg-type]
        change(file)

    return spoil


def other(architecture: str, **facts: object) -> Spoil:
    """A sound file that is no decoder."""
    return lambda world: write_other(world.here / "x.gguf", architecture, **facts)


def cut(to: Callable[[int], int]) -> Callable[[Path], None]:
    """Leave so many bytes of the file."""

    def change(file: Path) -> None:
        content = file.read_bytes()
        file.write_bytes(content[: to(len(content))])

    return change


def repacked(content: bytes) -> bytes:
    """The first tensor's packing, which stands behind its name and its two sizes, is one that does not exist."""
    name = b"token_embd.weight"
    at = content.index(name) + len(name) + 4 + 2 * 8
    return content[:at] + (999).to_bytes(4, "little") + content[at + 4 :]


def in_a_folder(world: World) -> None:
    """A folder whose name ends as a file's does, with the file inside."""
    (world.here / "x.gguf").mkdir()
    write_other(world.here / "x.gguf" / "inside.gguf", "llama")


TRAIN = "train $TRAIN --target x.gguf"
EXPECTED = "expected a folder with config.json, a .gguf file, a hub id such as org/model, or a name of"
DECODERS = ("gemma3", "llama", "qwen2", "take the model's folder or hub id")

CASES = {
    # --- no GGUF file
    "GGUF file that is not there": Case(TRAIN, ("x.gguf: no such file", EXPECTED)),
    "GGUF file in a folder that is not there": Case("backbones probe no/x.gguf", ("no/x.gguf: no such file", EXPECTED)),
    "GGUF file that is empty": Case(TRAIN, ("x.gguf: the file is empty", EXPECTED), spoil.write("x.gguf", b"")),
    "file that is called GGUF": Case(
        TRAIN, ("x.gguf: no GGUF file, whatever its name says", EXPECTED), spoil.write("x.gguf", b"PK\x03\x04" * 99)
    ),
    "folder that is called GGUF": Case(
        TRAIN, ("x.gguf: not a model folder (no config.json in it)",), spoil.folder("x.gguf")
    ),
    "folder with a GGUF file in it": Case(
        TRAIN, ("x.gguf: not a model folder", "name the file that is meant, such as x.gguf/inside.gguf"), in_a_folder
    ),
    "folder with a GGUF file in it, as a model": Case(
        "evaluate x.gguf --tasks STS12", ("not a complete checkpoint", "such as x.gguf/inside.gguf"), in_a_folder
    ),
    # --- damaged
    "GGUF file of nothing but its name": Case(
        TRAIN, ("x.gguf: damaged or cut short before its weights", "again"), spoil.write("x.gguf", b"GGUF")
    ),
    "GGUF file of noise": Case(
        TRAIN,
        ("x.gguf: damaged or cut short before its weights", "again"),
        spoil.write("x.gguf", b"GGUF" + bytes(range(256)) * 9),
    ),
    "GGUF file whose version is right and all else noise": Case(
        TRAIN,
        ("x.gguf: damaged or cut short before its weights", "again"),
        spoil.write("x.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 999),
    ),
    "GGUF file that names no architecture": Case(
        TRAIN,
        ("x.gguf: damaged or cut short", "it names no architecture"),
        spoil.write("x.gguf", b"GGUF\x03" + bytes(19)),
    ),
    "GGUF file of an alignment that nothing has": Case(
        TRAIN, ("x.gguf: damaged or cut short", "zero"), other("llama", general__alignment=0)
    ),
    "GGUF file whose number of parts is a text": Case(
        TRAIN, ("x.gguf: damaged or cut short", "its split.count is no whole number"), other("llama", split__count="3")
    ),
    "GGUF file whose kind is a number": Case(
        TRAIN, ("x.gguf: damaged or cut short", "its general.type is no text"), other("llama", general__type=3)
    ),
    "GGUF file of a packing that nobody knows": Case(
        TRAIN,
        ("x.gguf: damaged or cut short", "number 999, that the installed gguf does not know"),
        sound(lambda file: file.write_bytes(repacked(file.read_bytes()))),
    ),
    "GGUF file cut in its vocabulary": Case(
        TRAIN, ("x.gguf: damaged or cut short before its weights", "again"), sound(cut(lambda size: 1000))
    ),
    "GGUF file cut in half": Case(
        TRAIN,
        ("x.gguf: cut short", "bytes are there; copy or download it again"),
        sound(cut(lambda size: size // 2)),
    ),
    "GGUF file without its last tensor's end": Case(
        "backbones probe x.gguf", ("x.gguf: cut short", "again"), sound(cut(lambda size: size - 33))
    ),
    "GGUF file without a number of layers": Case(
        TRAIN, ("cannot read this file of falcon", "take another GGUF file of the model"), other("falcon")
    ),
    "GGUF file without weights": Case(
        TRAIN, ("x.gguf: the checkpoint lacks", "weights", "random"), sound(keep=lambda tensor: "ffn" not in tensor)
    ),
    # --- sound, and something else
    "GGUF file of an encoder": Case(TRAIN, ("x.gguf: holds bert", KNOWN, *DECODERS), other("bert")),
    "GGUF file of an encoder-decoder": Case(TRAIN, ("x.gguf: holds t5", KNOWN, *DECODERS), other("t5")),
    "GGUF file of a family that transformers cannot take": Case(
        "backbones probe x.gguf", ("x.gguf: holds rwkv7", KNOWN, *DECODERS), other("rwkv7")
    ),
    "GGUF file of a vision projector": Case(
        TRAIN,
        ("x.gguf: holds a part of the kind 'mmproj' (clip)", KNOWN, *DECODERS),
        other("clip", general__type="mmproj"),
    ),
    "GGUF file of an adapter": Case(
        "evaluate x.gguf --tasks STS12",
        ("x.gguf: holds a part of the kind 'adapter' (llama)", KNOWN, *DECODERS),
        other("llama", general__type="adapter"),
    ),
    "GGUF file that is one of several": Case(
        TRAIN, ("x.gguf: one of 3 parts; join them first",), sound(more={"split.count": 3})
    ),
    # --- used wrongly
    "GGUF file as a Prompting LLM, of an encoder": Case(
        "train $TRAIN --set prompting.backbone=x.gguf", ("x.gguf: holds bert", *DECODERS), other("bert")
    ),
    "GGUF file in 4 bits": Case(
        f"{TRAIN} --quantize nf4", ("x.gguf: quantization nf4 would round", "quantization: none"), sound()
    ),
    "GGUF file as a source": Case(
        "adapt $ADAPT --source x.gguf --target $MODEL", ("x.gguf: a decoder and no checkpoint",), sound()
    ),
    "GGUF file to embed with": Case(
        "embed x.gguf $DATA/pairs.jsonl --out v.npy", ("x.gguf: a decoder and no",), sound()
    ),
    "GGUF file to search with": Case(
        "search car --checkpoint x.gguf --texts $DATA/pairs.jsonl --column anchor",
        ("x.gguf: a decoder and no checkpoint",),
        sound(),
    ),
    "GGUF file without the package": Case(
        TRAIN,
        ("x.gguf: a GGUF file needs the package gguf; `pip install 'transferkit[gguf]'`",),
        spoil.both(sound(), spoil.not_installed("gguf")),
    ),
}
