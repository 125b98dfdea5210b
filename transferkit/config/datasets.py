"""Data of a recipe: sets that are trained on, sets that are measured, and which column plays which role."""

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from transferkit.config.schema import Strict, Unit

Builtin = Literal["installed-docs"]
HELD_OUT = ("knn", "pairs", "texts")  # dev kinds that can be the held-out part of a file that is trained on
Rows = Annotated[int, Unit("rows")]

ROLES: dict[str, dict[str, str]] = {  # kind -> role -> the column it is read from where `columns` does not say
    "pairs": {"anchor": "anchor", "positive": "positive"},
    "triplets": {"anchor": "anchor", "positive": "positive", "negative": "negative"},
    "labelled": {"text": "text", "label": "label"},
    "texts": {"text": "text"},
    "knn": {"text": "text", "label": "label"},
    "clustering": {"text": "text", "label": "label"},
    "sts": {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"},
    "retrieval": {  # queries (id, text), corpus (id, title where there is one, text), relevance judgements
        "id": "_id",
        "text": "text",
        "title": "title",
        "query_id": "query-id",
        "corpus_id": "corpus-id",
        "relevance": "score",
    },
}


class TrainSet(Strict):
    """One training set: a file, a hub dataset or built-in data, and how its columns become pairs."""

    name: str = Field(description="unique; adapt finds the source's instruction by it")
    kind: Literal["pairs", "triplets", "labelled", "texts"] = Field(
        description="pairs; triplets with a hard negative; texts with labels; texts alone, which a teacher teaches"
    )
    path: str | None = Field(
        None,
        description="parquet, jsonl, json, csv or tsv file, relative to `--data-dir`; for texts also a txt file with "
        "a text a line; this, `hub_id` or `builtin`",
    )
    hub_id: str | None = Field(None, description="data set on the Hugging Face Hub")
    builtin: Builtin | None = Field(
        None, description="docstrings of the Python packages on this machine, read offline; see below"
    )
    revision: str | None = Field(None, description="with `hub_id`: full commit id, in quotes")
    subset: str | None = Field(None, description="with `hub_id`: its configuration")
    split: str = Field("train", description="with `hub_id` or `builtin`")
    columns: dict[str, str] = Field(
        {},
        description="role: column, for `anchor`, `positive`, `negative`, or `text`, `label`; absent roles are columns "
        "of that name",
    )
    instruction: str | None = Field(
        None, description="for the anchors; absent: the source's for a set of this name, or none"
    )
    document_instruction: str | None = Field(
        None, description='for the other side; absent: the same as for the anchors, `""`: none'
    )
    weight: float = Field(1.0, gt=0, description="share of the batches, relative to the other sets")
    limit: Rows | None = Field(None, ge=2, description="use only the first rows")
    part: Literal["train"] | None = Field(
        None, description="`train` leaves out what `part: dev` of a dev set on the same file holds out; absent: all"
    )

    @model_validator(mode="after")
    def _check(self) -> "TrainSet":
        _one_origin(self.path, self.hub_id, self.builtin)
        _check_roles(self.kind, self.columns)
        return self


class DevSet(Strict):
    """One dev or test set. ``select: false`` is reported but never chooses a step, a learning rate or a template."""

    name: str = Field(description="unique")
    kind: Literal["knn", "sts", "retrieval", "pairs", "clustering", "texts"] = Field(
        description="knn: nearest-neighbour accuracy; sts: Spearman; retrieval: nDCG@10; pairs: the same, each "
        "anchor's positive among all; clustering: V-measure; texts: agreement with the teacher"
    )
    path: str | None = Field(
        None, description="file relative to `--data-dir`; knn: texts to classify; retrieval: queries"
    )
    train_path: str | None = Field(None, description="knn with `path`: labelled texts to compare with")
    corpus_path: str | None = Field(None, description="retrieval with `path`: documents")
    qrels_path: str | None = Field(None, description="retrieval with `path`: query id, document id, relevance")
    hub_id: str | None = Field(
        None,
        description="data set on the Hub; retrieval: its subsets `corpus` and `queries` beside the judgements",
    )
    builtin: Builtin | None = Field(
        None, description="docstrings of the Python packages on this machine, read offline; see below"
    )
    revision: str | None = Field(None, description="with `hub_id`: full commit id, in quotes")
    subset: str | None = Field(None, description="with `hub_id`: its configuration; retrieval: that of the judgements")
    split: str = Field("test", description="with `hub_id` or `builtin`: what is scored")
    train_split: str = Field("train", description="knn with `hub_id` or `builtin`: labelled texts to compare with")
    columns: dict[str, str] = Field({}, description="role: column, as for training sets; the roles are below")
    instruction: str = Field(
        "", description="for texts and queries; of `texts`, where none is given, that of the training set of this name"
    )
    document_instruction: str | None = Field(None, description="retrieval: for documents; absent: the same")
    select: bool = Field(True, description="`true`: its score chooses the step; only for sets inside the mixture")
    limit: Rows | None = Field(
        None,
        ge=2,
        description="a fixed random sample; knn adds up to 5 labelled texts a row, retrieval and pairs 5 documents; of "
        "`texts`, where none is given, 500",
    )
    part: Literal["dev"] | None = Field(
        None,
        description="of a file that is trained on with `part: train`: the rows that are held out, by a hash of their "
        "texts; knn and pairs: three in ten, at most 2,000, of texts a tenth, 50 to 500; absent: all",
    )

    @model_validator(mode="after")
    def _check(self) -> "DevSet":
        _one_origin(self.path, self.hub_id, self.builtin)
        _check_roles(self.kind, self.columns)
        if self.part is not None:
            _check_part(self)
        elif self.path is not None and self.kind == "knn" and self.train_path is None:
            raise ValueError("train_path: this key is missing (knn needs labelled texts to compare with)")
        if self.path is not None and self.kind == "retrieval" and not (self.corpus_path and self.qrels_path):
            raise ValueError("corpus_path, qrels_path: both are needed for retrieval")
        if self.path is None and (self.train_path or self.corpus_path or self.qrels_path):
            origin = "builtin" if self.hub_id is None else "hub_id"
            raise ValueError(
                f"train_path, corpus_path, qrels_path: not allowed beside {origin}, every part comes from there"
            )
        return self


def _one_origin(*origins: str | None) -> None:
    if len([origin for origin in origins if origin is not None]) != 1:
        raise ValueError("needs exactly one of path, hub_id and builtin")


def _check_roles(kind: str, columns: dict[str, str]) -> None:
    for role in columns:
        if role not in ROLES[kind]:
            raise ValueError(f"columns: unknown role {role!r} for kind {kind!r}, allowed: {', '.join(ROLES[kind])}")


def _check_part(dev: DevSet) -> None:
    if dev.kind not in HELD_OUT:
        raise ValueError(f"part: only sets of kind {', '.join(map(repr, HELD_OUT))} have parts, this is {dev.kind!r}")
    if dev.train_path is not None:
        raise ValueError("train_path: not allowed with part: dev, the rest of the same file is compared with")


class DataSection(Strict):
    """What is trained on and what is measured."""

    train: list[TrainSet] = Field(min_length=1, description="training sets, at least one")
    dev: list[DevSet] = Field(min_length=1, description="sets that are measured, at least one with `select: true`")
    on_bad_row: Literal["stop", "skip"] = Field("stop", description="empty, null or wrongly typed rows")

    @model_validator(mode="after")
    def _names_and_selection(self) -> "DataSection":
        for kind, names in (("train", [s.name for s in self.train]), ("dev", [s.name for s in self.dev])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: the name {twice[0]!r} is used twice")
        if not any(s.select for s in self.dev):
            raise ValueError("dev: no set has select: true, so nothing could choose a step")
        return self

    def relative_paths(self) -> list[str]:
        """Those of its files that are looked up below ``--data-dir``."""
        named = [path for one in self.train for path in (one.path,)]
        named += [path for one in self.dev for path in (one.path, one.train_path, one.corpus_path, one.qrels_path)]
        return [path for path in named if path is not None and not PurePath(path).is_absolute()]

    def in_words(self) -> str:
        """Where its sets come from, shortly."""
        sets: list[TrainSet | DevSet] = [*self.train, *self.dev]
        return ", ".join(dict.fromkeys(str(one.path or one.hub_id or one.builtin) for one in sets))
