"""A file of texts -> a file of pairs, block by block: make candidates, judge them, save what is left."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from transferkit import __version__
from transferkit.augment.candidates import Candidate, Maker, Source, Way
from transferkit.augment.filters import Filters
from transferkit.augment.pair_file import Block, PairFile, Tally, texts_sha256
from transferkit.augment.settings import Limits, Setup, check_output, check_ways
from transferkit.augment.similarity import Similarity, embedder_sha256
from transferkit.checkpoints.open import open_model
from transferkit.config.schema import dump_yaml
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use
from transferkit.files.text_files import TextFile
from transferkit.files.writable import check_new_file
from transferkit.progress import Work

BATCHES_PER_BLOCK = 16  # texts that are read, sorted by length, augmented and saved together


def augment_file(
    texts: str,
    out: Path,
    ways: Sequence[Way],
    *,
    setup: Setup | None = None,
    limits: Limits | None = None,
    column: str = "text",
    limit: int | None = None,
    console: Console,
) -> Tally:
    """Write pairs (text, another text that means the same) for the texts of a file; returns what became of them.

    The output has the columns ``anchor``, ``positive``, ``kind``, ``model``, ``revision``, ``weights_sha256``,
    ``prompt``, ``seed`` and ``row`` (:mod:`transferkit.augment.candidates`), ordered by row, and in its footer all
    settings and counts (:func:`transferkit.augment.pair_file.read_footer`). It is a function of texts, settings,
    batch size, device and library versions. After an interruption or a kill the same call goes on, and the file then
    equals an uninterrupted one byte for byte.

    Args:
        texts: text file with a text a line, ``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, or ``-`` for standard input.
        out: a parquet file that does not exist; its folder is made.
        ways: how candidates are made, at least one.
        setup: sampling, seed, batch size, dtype and device. Another batch size draws other texts; it may change when a
            run goes on.
        limits: what candidates must keep to.
        column: holds the text, in files with columns.
        limit: use only the first texts.
        console: for progress.

    Raises:
        ConfigError: wrong input, an output that exists or that another process writes, or blocks that were begun with
            something else.
        RunError: no pair is left, or the disk or the device's memory is full; finished blocks are kept.
    """
    setup, limits = setup or Setup(), limits or Limits()
    check_output(out, limits)
    check_ways([way.name for way in ways])
    source = TextFile.named(texts, column=column)
    settings = _settings(source, ways, setup=setup, limits=limits, limit=limit)
    file = PairFile(out, identity={name: json.dumps(value, sort_keys=True) for name, value in settings.items()})
    with sole_use(out, option="--out"):
        check_new_file(out)  # again, for another process may have ended meanwhile
        return _into(file, source, settings, ways, setup=setup, limits=limits, limit=limit, console=console)


def _into(
    file: PairFile,
    source: TextFile,
    settings: dict[str, Any],
    ways: Sequence[Way],
    *,
    setup: Setup,
    limits: Limits,
    limit: int | None,
    console: Console,
) -> Tally:
    """Make the pairs, or the rest of them, and finish ``file``, which belongs to this process alone."""
    file.resume()
    total = source.count(limit=limit)
    makers = [maker for way in ways for maker in way.makers(setup)]
    filters = _filters(limits, file, setup)
    blocks = _rest(source, file, limit=limit, size=BATCHES_PER_BLOCK * setup.batch_size)
    _fill(file, blocks, makers, filters, setup=setup, total=total, console=console)
    tally = file.tally()
    if tally.texts == 0:
        raise source.without_texts()
    if tally.pairs == 0:
        file.discard()
        raise RunError(
            f"{source}: no pair is left of {tally.texts} texts ({_reasons(tally)}); {file.out} is not written"
        )
    found = filters.similarity.limit if filters.similarity else None
    file.finish({"transferkit": __version__, **settings, "min_similarity": found})
    return tally


def train_set(out: Path) -> dict[str, Any]:
    """The file as an entry of a recipe's ``data.train``."""
    return {
        "name": out.stem,
        "kind": "pairs",
        "path": str(out.resolve()),
        "instruction": "Find a text with the same meaning.",
    }


def train_set_yaml(out: Path) -> str:
    """The same as lines that go below ``train:`` of a recipe."""
    first, *rest = dump_yaml(train_set(out)).splitlines()
    return "\n".join([f"    - {first}", *(f"      {line}" for line in rest)]) + "\n"


def _settings(
    source: TextFile, ways: Sequence[Way], *, setup: Setup, limits: Limits, limit: int | None
) -> dict[str, Any]:
    """All that decides the pairs but the batch size: a run may go on with another one."""
    embedder = None if limits.embedder is None else embedder_sha256(limits.embedder)
    return {
        "input": source.fingerprint(),
        "limit": limit,
        "seed": setup.seed,
        "sampling": asdict(setup.sampling),
        "dtype": setup.dtype,
        "filters": {**asdict(limits), "embedder": embedder},
        **{way.name: way.described() for way in ways},
    }


def _filters(limits: Limits, file: PairFile, setup: Setup) -> Filters:
    """What judges, knowing the pairs of ``file``; of an embedder with the limit that the first block found."""
    similarity = None
    if limits.embedder is not None:
        found = file.blocks[0].min_similarity if file.blocks else limits.min_similarity
        embedder = open_model(limits.embedder, device=setup.device)
        similarity = Similarity(embedder, limit=found, batch_size=setup.batch_size)
    filters = Filters(limits, similarity)
    for anchor, positive in file.pairs():
        filters.remember(anchor, positive)
    return filters


def _rest(source: TextFile, file: PairFile, *, limit: int | None, size: int) -> Iterator[list[Source]]:
    """Blocks of texts that ``file`` does not hold yet.

    Raises:
        ConfigError: the texts that it holds are others.
    """
    rest = (Source(row, text) for row, text in enumerate(islice(source, limit), start=1))
    for block in file.blocks:
        if texts_sha256(list(islice(rest, block.tally.texts))) != block.sha256:
            raise ConfigError(f"{file.part}: was begun with other texts; give the same, or remove it to start again")
    while block_texts := list(islice(rest, size)):
        yield block_texts


def _fill(
    file: PairFile,
    blocks: Iterator[list[Source]],
    makers: Sequence[Maker],
    filters: Filters,
    *,
    setup: Setup,
    total: int | None,
    console: Console,
) -> None:
    """Append the pairs of every block, with progress out of ``total`` texts."""
    try:
        done = file.tally().texts
        with Work(console, file.out.name, total=total, done=done, counts=False) as work:
            for block in blocks:
                _append(file, block, makers, filters, setup=setup, advance=_advancer(work, makers))
                done += len(block)
                work.update(done)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; {file.rows} pairs are kept, the same command goes on where this one stopped"
        ) from None


def _append(
    file: PairFile,
    sources: list[Source],
    makers: Sequence[Maker],
    filters: Filters,
    *,
    setup: Setup,
    advance: Callable[[], None],
) -> None:
    """Make, judge and save the candidates of one block."""
    if filters.similarity is not None and filters.similarity.limit is None:
        filters.similarity.calibrate([source.text for source in sources])
    try:
        candidates: list[Candidate] = []
        for maker in makers:
            for candidate in maker(sources):
                candidates.append(candidate)
                advance()
        # Stable: of one text first by maker, then in the order in which they were drawn.
        candidates.sort(key=lambda candidate: candidate.source.row)
        judged = filters(candidates)
    except torch.OutOfMemoryError:
        raise RunError(
            f"out of memory at {setup.batch_size} texts a forward pass; finished blocks are kept, go on with the same "
            f"command and --batch-size {max(1, setup.batch_size // 2)}"
        ) from None
    block = Block(
        sha256=texts_sha256(sources),
        batch_size=setup.batch_size,
        min_similarity=filters.similarity.limit if filters.similarity else None,
        tally=Tally.of(sources, judged),
    )
    file.append([candidate for candidate, reason in judged if reason is None], block)


def _advancer(work: Work, makers: Sequence[Maker]) -> Callable[[], None]:
    """Counts a candidate's share of a text: a block may take minutes."""
    share = 1 / sum(maker.per_text for maker in makers)
    return lambda: work.advance(share)


def _reasons(tally: Tally) -> str:
    """Every reason and its number of candidates, most frequent first."""
    counts = sum(map(Counter, tally.rejected.values()), Counter())
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
