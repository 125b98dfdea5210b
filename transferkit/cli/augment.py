"""``augment``: raw texts -> synthetic positive pairs in a parquet file, and the lines that put it into a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from transferkit.augment.settings import Limits, Sampling, Setup, check_output, check_ways
from transferkit.cli.options import BatchSize, Column, Device, Texts
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.locations import check_location
from transferkit.progress import plain, say
from transferkit.request.named import check_decoder, check_model, check_texts

if TYPE_CHECKING:
    from transferkit.augment.candidates import Way
    from transferkit.augment.pair_file import Tally

_SETUP, _LIMITS = Setup(), Limits()
_OF_WRITTEN = (
    *("temperature", "top_p", "max_tokens", "dtype"),
    *("max_overlap", "min_overlap", "embedder", "min_similarity"),
)


Out = Annotated[Path, typer.Option("--out", help="Where to write: .parquet.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first texts.")]
Llm = Annotated[
    str | None, typer.Option("--llm", help="Paraphrases by this decoder: registry name, folder, .gguf file or hub id.")
]
Prompt = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="NAME", help="Ask this way; repeatable; default: all.")
]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", metavar="FILE", help="YAML file of prompts; default: the bundled ones.")
]
Chat = Annotated[
    bool | None, typer.Option("--chat/--no-chat", help="Through its chat template; default: where it has one.")
]
Forward = Annotated[
    str | None, typer.Option("--forward", help="Back-translations: encoder-decoder there, a folder or hub id.")
]
Backward = Annotated[str | None, typer.Option("--backward", help="And back; it may be the same.")]
ForwardPrefix = Annotated[
    str, typer.Option("--forward-prefix", help='Put before what --forward reads: "translate English to German: ".')
]
BackwardPrefix = Annotated[str, typer.Option("--backward-prefix", help="Put before what --backward reads.")]
Noise = Annotated[
    list[str] | None,
    typer.Option("--noise", metavar="KIND", help="Light noise: deletion or swap of words; repeatable."),
]
NoiseRate = Annotated[
    float, typer.Option("--noise-rate", min=0.001, max=0.999, help="Share of the words that noise touches.")
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Candidates a text, of every prompt and every kind.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Of the models' softmax.")]
TopP = Annotated[
    float, typer.Option("--top-p", min=0.01, max=1, help="Draw from the likeliest tokens with this probability.")
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", min=1, help="Of a text that a model reads or writes; longer is left out.")
]
MaxOverlap = Annotated[
    float, typer.Option("--max-overlap", min=0, max=1, help="Share of common words from which on it is a copy.")
]
MinOverlap = Annotated[
    float, typer.Option("--min-overlap", min=0, max=1, help="Share of common words below which it is too far.")
]
Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="Checkpoint, run folder or backbone whose cosine judges that instead; a backbone reads the "
        "first 128 tokens of a text.",
    ),
]
MinSimilarity = Annotated[
    float | None,
    typer.Option(
        "--min-similarity", min=-1, max=1, help="Cosine below which it is too far; default: measured on the texts."
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides everything that is drawn.")]
Dtype = Annotated[Literal["float32", "bfloat16"], typer.Option("--dtype", help="Of the models that write.")]
Json = Annotated[bool, typer.Option("--json", help="Print counts and the recipe's entry as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")]


def augment(
    context: typer.Context,
    texts: Texts,
    out: Out,
    column: Column = "text",
    limit: Limit = None,
    llm: Llm = None,
    prompt: Prompt = None,
    prompts: Prompts = None,
    chat: Chat = None,
    forward: Forward = None,
    backward: Backward = None,
    forward_prefix: ForwardPrefix = "",
    backward_prefix: BackwardPrefix = "",
    noise: Noise = None,
    noise_rate: NoiseRate = 0.1,
    samples: Samples = _SETUP.sampling.samples,
    temperature: Temperature = _SETUP.sampling.temperature,
    top_p: TopP = _SETUP.sampling.top_p,
    max_tokens: MaxTokens = _SETUP.sampling.max_tokens,
    max_overlap: MaxOverlap = _LIMITS.max_overlap,
    min_overlap: MinOverlap = _LIMITS.min_overlap,
    embedder: Embedder = None,
    min_similarity: MinSimilarity = None,
    seed: Seed = _SETUP.seed,
    batch_size: BatchSize = _SETUP.batch_size,
    dtype: Dtype = _SETUP.dtype,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make positive pairs from raw texts with local models: paraphrases, back-translations, light noise.

    The three may be combined. Candidates that are copies, too far, unfinished or in another script are left out and
    counted. After an interruption the same command goes on. Prints what to paste below `train:` of a recipe.

    Example: transferkit augment texts.txt --out pairs.parquet --llm Qwen/Qwen3-0.6B --noise deletion
    """
    _check_heeded(context, written=llm is not None or forward is not None, noise=bool(noise))
    limits = Limits(max_overlap, min_overlap, embedder, min_similarity)
    _check_files(texts, column, out, limits)
    ways = [
        *_paraphrases(llm, names=prompt or [], file=prompts, chat=chat),
        *_back_translations(forward, backward, forward_prefix, backward_prefix),
        *_noise(noise or [], rate=noise_rate),
    ]
    check_ways([way.name for way in ways])
    from transferkit.augment.run import augment_file
    from transferkit.decoder.device import usable_device

    console = Console(stderr=True, quiet=quiet)
    sampling = Sampling(samples, temperature, top_p, max_tokens)
    setup = Setup(sampling, seed, batch_size, dtype, usable_device(device))
    tally = augment_file(texts, out, ways, setup=setup, limits=limits, column=column, limit=limit, console=console)
    console.print(_table(tally))
    _print_train_set(tally, out, console, json=json)


def _check_files(texts: str, column: str, out: Path, limits: Limits) -> None:
    """Refuse what is not there, and what could not be written."""
    check_output(out, limits)
    check_texts(texts, column=column)
    if limits.embedder is not None:
        check_model(limits.embedder)


def _check_heeded(context: typer.Context, *, written: bool, noise: bool) -> None:
    """Refuse an option that changes no pair; that no way is given at all is told elsewhere."""
    if not written and not noise:
        return
    given = [one.name for one in context.command.params if _is_given(context, str(one.name))]
    for name in given:
        option = f"--{str(name).replace('_', '-')}"
        if name in _OF_WRITTEN and not written:
            raise ConfigError(f"{option} is for pairs that a model writes; give --llm, or --forward and --backward")
        if name == "noise_rate" and not noise:
            raise ConfigError(f"{option} is for --noise, which is not given")
        if name == "min_overlap" and "embedder" in given:
            raise ConfigError(f"{option}: --embedder judges instead of common words; give one of the two")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _paraphrases(llm: str | None, *, names: list[str], file: Path | None, chat: bool | None) -> "list[Way]":
    if llm is None:
        if names or file is not None or chat is not None:
            raise ConfigError("--prompt, --prompts and --chat are for --llm, which is not given")
        return []
    from transferkit.augment.prompts import read_prompts

    chosen = read_prompts(file, names=names)
    check_decoder(llm)
    from transferkit.augment.paraphrase import ParaphraseWay

    return [ParaphraseWay(llm, prompts=chosen, chat=chat)]


def _back_translations(
    forward: str | None, backward: str | None, forward_prefix: str, backward_prefix: str
) -> "list[Way]":
    if forward is None and backward is None:
        if forward_prefix or backward_prefix:
            raise ConfigError("--forward-prefix and --backward-prefix are for --forward and --backward")
        return []
    if forward is None or backward is None:
        raise ConfigError("back-translation needs both --forward and --backward; one model may do both")
    for model in (forward, backward):
        check_location(model)
    from transferkit.augment.backtranslate import BackTranslationWay

    return [BackTranslationWay(forward, backward, forward_prefix=forward_prefix, backward_prefix=backward_prefix)]


def _noise(kinds: list[str], *, rate: float) -> "list[Way]":
    from transferkit.augment.noise import KINDS, NoiseWay

    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--noise {kind}: expected {' or '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    return [NoiseWay(kind, rate=rate) for kind in dict.fromkeys(kinds)]


def _print_train_set(tally: "Tally", out: Path, console: Console, *, json: bool) -> None:
    """The entry of a recipe's ``data.train``, as YAML or as JSON with the counts."""
    import json as json_module
    from dataclasses import asdict

    from transferkit.augment.run import train_set, train_set_yaml

    say(f"{tally.pairs:,} pairs of {tally.texts:,} texts in {out}; put it into a recipe's data.train:", console)
    if json:
        print(json_module.dumps({**asdict(tally), "train_set": train_set(out)}, ensure_ascii=False))
    else:
        print(train_set_yaml(out), end="")


def _table(tally: "Tally") -> Table:
    """A column a kind: candidates, pairs, and how many were rejected for which reason."""
    reasons = dict.fromkeys(reason for counts in tally.rejected.values() for reason in counts)
    kept = {kind: tally.kept.get(kind, 0) for kind in tally.rejected}
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for kind in kept:
        table.add_column(plain(kind), justify="right")
    candidates = [pairs + sum(tally.rejected[kind].values()) for kind, pairs in kept.items()]
    table.add_row("candidates", *(f"{number:,}" for number in candidates))
    table.add_row("pairs", *(f"{number:,}" for number in kept.values()), style="bold")
    for reason in reasons:
        table.add_row(plain(reason), *(f"{counts.get(reason, 0):,}" for counts in tally.rejected.values()), style="dim")
    return table
