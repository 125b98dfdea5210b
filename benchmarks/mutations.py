"""Seeded damage to the files of an artefact: what disks, copies, editors and other versions do to them.

A mutation is a function of a random generator and a file. Those of JSON take a value apart; where a folder is sealed,
it can be sealed again behind one, as by somebody who means it.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from transferkit.config.schema import dump_yaml, read_yaml
from transferkit.files.manifest import NAME as MANIFEST
from transferkit.files.manifest import seal

DEEP = "[" * 5000 + "]" * 5000
# What stands where something else belongs: JSON text, since some of it cannot be written otherwise.
ODD = (
    "null", "true", "-1", "0", "1.5", '""', '"text"', "[]", "{}", "[[]]", '{"a": 1}', "1e999", "NaN", "-Infinity",
    "9" * 400, '"\\ud800"', '"\\u0000"', json.dumps("x" * 300), '"../../etc"', '"/"', DEEP,
)  # fmt: skip
FOREIGN = ("added_tokens.json", "adapter_config.json", "special_tokens_map.json", "extra.safetensors", "module.py")
_MARK = "\x00here\x00"
Change = Callable[[Path, random.Random], tuple[str, str, str]]  # kind, detail, key


@dataclass(frozen=True)
class Mutation:
    """What was done, to which file, and whether somebody stands behind it.

    Attributes:
        kind: such as ``flip``.
        file: relative to the artefact.
        detail: where in the file, or what stands there now.
        sealed: the manifest was made to agree.
        key: of a JSON value that was edited.
    """

    kind: str
    file: str
    detail: str = ""
    sealed: bool = False
    key: str = ""


def mutate(root: Path, file: Path, rng: random.Random, *, sealed_folder: Path | None) -> Mutation:
    """Damage one file below ``root``.

    Args:
        root: of the artefact, a copy; nothing in it may be linked to the original.
        file: that is damaged.
        rng: decides how.
        sealed_folder: the folder whose manifest covers the file; None: there is none.
    """
    sealed = sealed_folder is not None and file.name != MANIFEST and rng.random() < 0.6
    kinds: tuple[Change, ...] = _BYTES
    if file.suffix in (".json", ".jsonl", ".yaml"):
        kinds = (*kinds, *_TEXT * 2)
    if file.name == MANIFEST:
        kinds = (*kinds, *_LIST * 30)
    if sealed:
        if file.suffix == ".safetensors" and rng.random() < 0.7:
            kinds = (_tensor,)
        kinds = tuple(one for one in kinds if one not in (_remove, _folder, _leads_out, _leads_nowhere))
    name = file.relative_to(root).as_posix()
    kind, detail, key = rng.choice(kinds)(file, rng)
    if sealed and sealed_folder is not None:
        (sealed_folder / MANIFEST).unlink()  # else it would be listed in itself
        seal(sealed_folder)
    return Mutation(kind, name, detail, sealed, key)


def add_foreign(root: Path, folder: Path, rng: random.Random) -> Mutation:
    """Put a file into a folder that it was not saved with."""
    name = rng.choice(FOREIGN)
    content = rng.choice((b'{"<mine>": 5}', b"{}", b"null", b"\xff\xfe", b""))
    (folder / name).write_bytes(content)
    return Mutation("foreign", (folder / name).relative_to(root).as_posix(), repr(content[:20]))


# Bytes


def _flip(file: Path, rng: random.Random) -> tuple[str, str, str]:
    content = bytearray(file.read_bytes())
    if not content:
        return _append(file, rng)
    # Half of the time among the first bytes, where formats say what they are.
    place = rng.randrange(min(512, len(content)) if rng.random() < 0.5 else len(content))
    content[place] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return "flip", f"byte {place} of {len(content)}", ""


def _zeros(file: Path, rng: random.Random) -> tuple[str, str, str]:
    content = bytearray(file.read_bytes())
    place = rng.randrange(max(1, len(content) - 64))
    content[place : place + 64] = bytes(len(content[place : place + 64]))
    file.write_bytes(content)
    return "zeros", f"from byte {place}", ""


def _truncate(file: Path, rng: random.Random) -> tuple[str, str, str]:
    content = file.read_bytes()
    keep = rng.randrange(max(1, len(content)))
    file.write_bytes(content[:keep])
    return "truncate", f"{keep} of {len(content)} bytes", ""


def _empty(file: Path, rng: random.Random) -> tuple[str, str, str]:
    file.write_bytes(b"")
    return "empty", "", ""


def _append(file: Path, rng: random.Random) -> tuple[str, str, str]:
    extra = rng.randbytes(rng.choice((1, 40)))
    with file.open("ab") as end:
        end.write(extra)
    return "append", f"{len(extra)} bytes", ""


def _remove(file: Path, rng: random.Random) -> tuple[str, str, str]:
    file.unlink()
    return "remove", "", ""


def _folder(file: Path, rng: random.Random) -> tuple[str, str, str]:
    file.unlink()
    file.mkdir()
    return "folder", "in its place", ""


def _leads_out(file: Path, rng: random.Random) -> tuple[str, str, str]:
    outside = file.parents[2] / f"outside-{file.name}"
    shutil.move(file, outside)
    file.symlink_to(outside)
    return "leads-out", "a link to the same bytes elsewhere", ""


def _leads_nowhere(file: Path, rng: random.Random) -> tuple[str, str, str]:
    file.unlink()
    file.symlink_to(rng.choice((file.name, "nowhere", "/dev/null")))
    return "leads-nowhere", str(file.readlink()), ""


_BYTES = (_flip, _flip, _zeros, _truncate, _empty, _append, _remove, _folder, _leads_out, _leads_nowhere)


# JSON, lines of JSON, YAML


def _whole(file: Path, rng: random.Random) -> tuple[str, str, str]:
    odd = rng.choice(ODD)
    file.write_text(odd, encoding="utf-8")
    return "whole", odd[:30], ""


def _not_utf8(file: Path, rng: random.Random) -> tuple[str, str, str]:
    content = file.read_bytes()
    place = rng.randrange(len(content) + 1)
    file.write_bytes(content[:place] + b"\xff" + content[place:])
    return "not-utf8", f"at byte {place}", ""


def _value(file: Path, rng: random.Random) -> tuple[str, str, str]:
    def edit(holder: Any, key: Any) -> str:
        odd = rng.choice(ODD)
        holder[key] = _MARK + odd
        return odd[:30]

    return _edit(file, rng, "value", edit)


def _drop(file: Path, rng: random.Random) -> tuple[str, str, str]:
    def edit(holder: Any, key: Any) -> str:
        del holder[key]
        return ""

    return _edit(file, rng, "drop", edit)


def _near(file: Path, rng: random.Random) -> tuple[str, str, str]:
    """Another value of the same type: what only the weights can contradict."""

    def edit(holder: Any, key: Any) -> str:
        old = holder[key]
        match old:
            case bool():
                holder[key] = not old
            case int():
                holder[key] = old + rng.choice((1, -1, 7))
            case float():
                holder[key] = old * 2
            case str():
                holder[key] = rng.choice((old[:-1], old + "x", old.swapcase(), f"{old} {old}"))
            case list():
                holder[key] = [*old, *old]
            case _:
                holder[key] = 3
        return repr(holder[key])[:30]

    return _edit(file, rng, "near", edit)


def _newer(file: Path, rng: random.Random) -> tuple[str, str, str]:
    def edit(holder: Any, key: Any) -> str:
        name = rng.choice(("of_a_newer_version", "x" * 300, ""))
        if isinstance(holder, dict):
            holder[name] = {"a": [1]}
        else:
            holder.append({"a": [1]})
        return name[:30]

    return _edit(file, rng, "newer", edit)


def _lines(file: Path, rng: random.Random) -> tuple[str, str, str]:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = rng.randrange(len(lines))
    what = rng.choice(("dropped", "doubled", "moved"))
    line = lines.pop(place)
    if what != "dropped":
        lines[rng.randrange(len(lines) + 1) : 0] = [line] * (2 if what == "doubled" else 1)
    file.write_text("".join(lines), encoding="utf-8")
    return "line", f"{place + 1} {what}", ""


_TEXT = (_whole, _not_utf8, _value, _value, _value, _drop, _near, _near, _newer, _lines)


def _edit(file: Path, rng: random.Random, kind: str, edit: Callable[[Any, Any], str]) -> tuple[str, str, str]:
    if file.suffix == ".yaml":
        rows = [read_yaml(file)]
    else:
        text = file.read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else [json.loads(text)]
    number = rng.randrange(len(rows))
    places = list(_places(rows[number], ()))
    holder, key, path = rng.choice(places) if places else (rows, number, ())
    detail = edit(holder, key)
    name = ".".join(map(str, path))
    if file.suffix == ".yaml":
        written = dump_yaml(rows[0]) if _MARK not in repr(rows[0]) else json.dumps(rows[0])
    else:
        written = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    file.write_text(_unmarked(written), encoding="utf-8")
    return kind, f"{name[:60]} {detail}".strip(), name


def _unmarked(text: str) -> str:
    """Odd values stand as they are: their text was carried in a marked string."""
    mark = json.dumps(_MARK)[1:-1]
    while (start := text.find(f'"{mark}')) >= 0:
        string, end = json.JSONDecoder().raw_decode(text[start:])
        text = text[:start] + string[len(_MARK) :] + text[start + end :]
    return text


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key, (*path, key)
        if not isinstance(item, dict) or len(item) < 500:  # a vocabulary is one place among others
            yield from _places(item, (*path, key))


# Manifests


def _entries(file: Path, rng: random.Random) -> tuple[str, str, str]:
    manifest = json.loads(file.read_text(encoding="utf-8"))
    files = manifest["files"]
    name = rng.choice(sorted(files))
    what = rng.choice(("dropped", "long", "out", "absolute", "null", "swapped", "none", "blank"))
    match what:
        case "dropped":
            del files[name]
        case "long":
            files["n" * 300] = files[name]
        case "out":
            files["../x.safetensors"] = files[name]
        case "absolute":
            files["/etc/hostname"] = files[name]
        case "null":
            files[name] = None
        case "swapped":
            other = rng.choice(sorted(files))
            files[name], files[other] = files[other], files[name]
        case "none":
            manifest["files"] = {}
        case _:
            files["a\x00b"] = files[name]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    return "entry", f"{name} {what}", ""


_LIST = (_entries,)


# Tensors


def _tensor(file: Path, rng: random.Random) -> tuple[str, str, str]:
    tensors = load_file(file)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    what = rng.choice(("shorter", "renamed", "dropped", "nan", "flat", "integers", "doubled"))
    match what:
        case "shorter":
            tensors[name] = tensor[: len(tensor) // 2].clone() if tensor.ndim else tensor
        case "renamed":
            tensors[f"{name}.x"] = tensors.pop(name)
        case "dropped":
            del tensors[name]
        case "nan":
            tensors[name] = torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor - 9**9
        case "flat":
            tensors[name] = tensor.flatten().clone()
        case "integers":
            tensors[name] = tensor.to(torch.int64)
        case _:
            tensors[name] = torch.cat([tensor, tensor]) if tensor.ndim else tensor
    save_file(tensors, file, metadata={"format": "pt"})
    return "tensor", f"{name} {what}", name
