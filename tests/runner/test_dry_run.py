"""The dry run: its numbers against independent counts, its examples against the tokenizers, and nothing written."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import ridge_regression
from helpers.tiny import Tiny
from rich.console import Console
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from zoo import FAMILIES, save

from transferkit.config.recipes import read_recipe
from transferkit.data.examples import Batch
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder, Group
from transferkit.methods.described import POOLED
from transferkit.methods.prompting_alone import JOINS
from transferkit.readout.readout import Readout
from transferkit.runner.dry_run import describe
from transferkit.runner.memory_estimate import estimate_memory
from transferkit.runner.prepare import Inputs, resolved
from transferkit.runner.run import start


@pytest.fixture(scope="module")
def source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished train run of one step."""
    return start(
        tiny.recipe("train", optim={"steps": 1}),
        Inputs(data_dir=tiny.data),
        runs=tmp_path_factory.mktemp("runs"),
        console=Console(quiet=True),
    )


def plan(tiny: Tiny, task: str, *, source: Path | None = None, **changes: Any) -> str:
    return describe(tiny.recipe(task, **changes), Inputs(source=source, data_dir=tiny.data))


def row(text: str, name: str) -> str:
    """The value of the line that begins with ``name``."""
    (found,) = re.findall(rf"^ +{re.escape(name)} {{2,}}(.*)$", text, flags=re.MULTILINE)
    return str(found)


def count(model: Any, folder: Path) -> int:
    return sum(p.numel() for p in model.from_pretrained(folder).parameters())


def section(text: str, title: str) -> list[str]:
    (found,) = [block for block in text.split("\n\n") if block.startswith(title)]
    return found.splitlines()[1:]


def tokens(folder: Path, text: str) -> list[str]:
    return [str(token) for token in AutoTokenizer.from_pretrained(folder).tokenize(text)]


def files(*folders: Path) -> dict[Path, tuple[int, int]]:
    everything = (path for folder in folders for path in [folder, *folder.rglob("*")])
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in everything}


def test_it_begins_with_what_would_run(tiny: Tiny, source: Path) -> None:
    text = plan(tiny, "adapt", source=source)
    assert text.startswith("what would run\n")
    learned = row(text, "trainable").split()[0]
    assert row(text, "would train").startswith(f"{learned} of ")
    assert row(text, "would train").endswith("transfer, W + offsets, source start, on target")
    assert row(text, "with") == "intents (40 rows), pairs (32 rows); 4 steps of 8"
    assert row(text, "scored on") == "intents (72 texts), sts (24 texts)"
    assert re.fullmatch(r"about \d+ s here, by 16 of its texts read just now", row(text, "would take"))
    assert row(text, "would write") == "runs/adapt-target-DATE: checkpoint, record and metrics"
    sections = [block.splitlines()[0] for block in text.split("\n\n")]
    assert sections.index("recipe, resolved") == len(sections) - 2  # the rest comes after what matters


def test_of_what_learns_nothing_it_says_so(tiny: Tiny) -> None:
    text = plan(tiny, "baseline", method="tfidf")
    assert row(text, "would train").startswith("nothing: it is measured")
    assert row(text, "would write").endswith("-DATE: record and metrics")


def test_train_counts_everything_that_learns(tiny: Tiny) -> None:
    text = plan(tiny, "train")
    prompting, backbone = count(AutoModelForCausalLM, tiny.prompting), count(AutoModel, tiny.source)
    learned = prompting + 48 * 48 + 3 * 48
    assert row(text, "trainable").startswith(f"{learned:,} of {learned + backbone:,} (")
    assert [row(text, name) for name in ("model", "alignment", "offset")] == [f"{prompting:,}", "2,304", "144"]
    assert row(text, "optimizer steps") == "4 x 8 examples = 32 examples"
    limited = plan(tiny, "train", optim={"seconds": 2.5})
    assert row(limited, "optimizer steps").endswith("= 32 examples, at most: it ends after 2.5 s of training")
    assert row(text, "evaluations").startswith("3: at step 0, every 2 steps")
    assert "method: source, W + offsets, anchors start" in text
    assert row(text, "path").startswith("cached: ")


def test_the_plan_says_which_step_is_kept(tiny: Tiny) -> None:
    text = plan(tiny, "train")
    assert "the best step becomes the checkpoint" in text
    text = plan(tiny, "train", eval={"keep": "last"})
    assert "the last step becomes the checkpoint" in text


def test_recipe_in_the_plan_is_complete_and_valid(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    text = plan(tiny, "adapt", source=source)
    file = tmp_path / "printed.yaml"
    file.write_text("\n".join(line[2:] for line in section(text, "recipe, resolved")))
    complete = resolved(tiny.recipe("adapt"), source=source)
    assert read_recipe(str(file)).model_dump() == complete.model_dump()


def test_adapt_learns_the_alignment_alone_and_tells_where_it_starts(tiny: Tiny, source: Path) -> None:
    carried = row(plan(tiny, "adapt", source=source), "W starts from")
    assert re.fullmatch(r"the source's own W for source, told in \d+ tokens", carried)
    text = plan(tiny, "adapt", source=source, alignment={"init": "anchors"})
    total = count(AutoModelForCausalLM, tiny.prompting) + count(AutoModel, tiny.target) + 2304 + 144
    assert row(text, "trainable").startswith(f"2,448 of {total:,} (")
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (tiny.prompting, tiny.target)]
    vocabularies = [tokenizer.get_vocab() for tokenizer in tokenizers]
    shared = sorted(set(vocabularies[0]) & set(vocabularies[1]) - set(tokenizers[0].all_special_tokens))
    found = re.fullmatch(r"(\d+) tokens that both vocabularies share, R2 (\d\.\d{4})", row(text, "W starts from"))
    assert found is not None
    assert int(found[1]) == len(shared)
    trained = AutoModelForCausalLM.from_pretrained(source / "checkpoint" / "prompting")
    x, y = (
        model.get_input_embeddings().weight.detach().double().numpy()[[vocabulary[token] for token in shared]]
        for model, vocabulary in zip((trained, AutoModel.from_pretrained(tiny.target)), vocabularies, strict=True)
    )
    weight = ridge_regression(x, y)
    r2 = 1 - np.sum((y - x @ weight) ** 2) / np.sum((y - y.mean(0)) ** 2)
    assert abs(float(found[2]) - r2) <= 1e-4
    assert row(plan(tiny, "adapt", source=source, alignment={"init": "random"}), "W starts from") == (
        "a random draw of matched size"
    )
    taught = plan(tiny, "adapt", source=source, teacher={"weight": 0.5})
    assert row(taught, "weight on pairs") == "0.5, beside the contrastive loss"
    texts = {line.split(",")[0] for name in ("intents", "intents_dev") for line in _rows(tiny, f"{name}.csv")}
    texts |= {text for line in _rows(tiny, "sts.tsv") for text in line.split("\t")[:2]}
    texts |= {text for line in (tiny.data / "pairs.jsonl").open() for text in re.findall(r': "(.*?)"', line)}
    kept = len(texts) * 3 * 48 * 4 / 2**20
    assert f"{kept:.1f} MiB" in row(text, "soft tokens")


def _rows(tiny: Tiny, name: str) -> list[str]:
    return (tiny.data / name).read_text().splitlines()[1:]


def test_lora_and_prompt_tuning_count_their_own(tiny: Tiny) -> None:
    text = plan(tiny, "baseline", method="lora", lora={"r": 4})
    linear = [m for m in AutoModel.from_pretrained(tiny.target).modules() if isinstance(m, nn.Linear)]
    learned = sum(4 * (m.in_features + m.out_features) for m in linear)
    assert row(text, "trainable").startswith(f"{learned:,} of {count(AutoModel, tiny.target) + learned:,} (")
    assert row(text, "path").startswith("full: no soft tokens")
    assert row(plan(tiny, "baseline", method="prompt-tuning"), "trainable").startswith("240 of ")


def test_the_plan_says_where_cached_text_is_not_exact(tiny: Tiny, tmp_path: Path) -> None:
    embedding = {"backbone": str(save(FAMILIES["openai-gpt"], tmp_path)), "max_length": 24}
    text = plan(tiny, "baseline", method="prompt-tuning", embedding=embedding)
    assert row(text, "path") == "full: cached text is not exact on this decoder"


@pytest.mark.parametrize("method", ["frozen", "tfidf", "prompting-llm-alone"])
def test_methods_without_training_say_so(method: str, tiny: Tiny, source: Path) -> None:
    frozen = {"templates": ["{text}", "a {text} is"], "poolings": ["last", "static", "mean"]}
    given = source if method == "prompting-llm-alone" else None
    text = plan(tiny, "baseline", source=given, method=method, frozen=frozen)
    assert section(text, "steps") == ["  none: every dev set is scored once a variant"]
    assert "gradients, optimizer" not in text
    examples = "\n".join(section(text, "examples"))
    match method:
        case "tfidf":
            assert section(text, "parameters") == ["  none"]
            assert POOLED not in examples
        case "frozen":
            assert row(text, "trainable") == f"0 of {count(AutoModel, tiny.target):,} (0.000%)"
            names = ["last · plain", "static · plain", "mean · plain", "last · a {text} is", "mean · a {text} is"]
            assert [line.strip() for line in section(text, "method")[1:]] == names
            reads = [line for line in examples.splitlines() if "backbone reads" in line]
            assert [line.count(POOLED) for line in reads] == [1, 1, 1]
            assert all(line.split()[-1].startswith(POOLED) for line in reads)
        case _:
            assert row(text, "trainable") == f"0 of {count(AutoModelForCausalLM, tiny.prompting):,} (0.000%)"
            assert [line.strip() for line in section(text, "method")[1:]] == list(JOINS.values())
            assert examples.count("soft tokens it wrote ▸⟨soft 1⟩ ▸⟨soft 2⟩ ▸⟨soft 3⟩") == 3
            assert not re.search("^backbone", text, flags=re.MULTILINE)


def test_examples_are_what_the_tokenizers_say(tiny: Tiny, source: Path) -> None:
    lines = section(plan(tiny, "adapt", source=source), "examples, as tokens (▸ makes the vector; pooling soft")
    assert len(lines) == 9
    anchor = _rows(tiny, "intents.csv")[0].split(",")[0]
    assert lines[0] == f"  {anchor!r}  instruction 'find the cat'"
    prompt = ["<s>", *tokens(tiny.prompting, f"find the cat\n{anchor}\n")]
    assert lines[1].split("reads")[1].split() == prompt
    soft = [f"{POOLED}⟨soft", "1⟩", f"{POOLED}⟨soft", "2⟩", f"{POOLED}⟨soft", "3⟩"]
    assert lines[2].split("reads")[1].split() == ["<s>", *tokens(tiny.target, anchor), *soft]


@pytest.mark.parametrize(("pooling", "marked"), [("soft+static", [1, 2, 3]), ("last+static", [3])])
def test_states_are_marked_where_token_embeddings_stand_beside_them(
    tiny: Tiny, source: Path, pooling: str, marked: list[int]
) -> None:
    text = plan(tiny, "adapt", source=source, embedding={"pooling": pooling})
    title = (
        f"examples, as tokens (states at {POOLED} and the text's token embeddings make the vector; pooling {pooling}"
    )
    shown = section(text, title)[2]
    assert shown.count(POOLED) == len(marked)
    assert all(f"{POOLED}⟨soft {i}⟩" in shown for i in marked)


def test_the_state_before_the_soft_tokens_is_marked_beside_theirs(tiny: Tiny, source: Path) -> None:
    text = plan(tiny, "adapt", source=source, embedding={"pooling": "before+soft"})
    shown = section(text, f"examples, as tokens ({POOLED} makes the vector; pooling before+soft")[2]
    *_, last, first_soft, _, _ = shown.split(POOLED)[0].split() + shown.split(POOLED)[1:]
    assert shown.count(POOLED) == 4
    assert last.strip() == tokens(tiny.target, _rows(tiny, "intents.csv")[0].split(",")[0])[-1]
    assert first_soft.strip() == "⟨soft 1⟩"


def test_widths_of_a_frozen_decoders_variants(tiny: Tiny) -> None:
    width = AutoModel.from_pretrained(tiny.target).get_input_embeddings().weight.shape[1]
    frozen = {"templates": ["{text}"], "poolings": ["static", "mean", "mean+static"]}
    text = plan(tiny, "baseline", method="frozen", frozen=frozen)
    assert row(text, "widths") == f"embeddings {width}, vectors {width} or {2 * width}"
    assert POOLED not in "".join(section(text, "examples")[1::2])  # the first variant reads no state


def test_mean_pooling_marks_every_token_but_bos(tiny: Tiny) -> None:
    embedding = {"template": "{soft}the {text}", "pooling": "mean"}
    text = plan(tiny, "baseline", method="prompt-tuning", prompting={"tokens": 2}, embedding=embedding)
    assert row(text, "path") == "full: what stands after the soft tokens differs in length from text to text"
    anchor = _rows(tiny, "intents.csv")[0].split(",")[0]
    after = [f"{POOLED}{token}" for token in [*tokens(tiny.target, "the "), *tokens(tiny.target, anchor)]]
    expected = " ".join(["<s>", f"{POOLED}⟨soft 1⟩", f"{POOLED}⟨soft 2⟩", *after])
    assert section(text, "examples")[1] == f"    backbone reads       {expected}"


def test_long_rows_are_shortened_in_the_middle(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "long.tsv").write_text("anchor\tpositive\n" + f"{'cat ' * 40}\tno\ncar\twater\n")
    train = [{"name": "long", "kind": "pairs", "path": str(tmp_path / "long.tsv")}]
    text = plan(tiny, "baseline", method="lora", data={"train": train}, embedding={"max_length": 40})
    assert "… (17 more, 17 of them pooled) …" in section(text, "examples")[1]


def test_negatives_skipped_rows_and_warnings(tiny: Tiny, tmp_path: Path) -> None:
    rows = ["anchor,positive,negative", "a,b,c", "a,d,c", "a,,c", "e,f,g", "a,h,c"]
    (tmp_path / "triplets.csv").write_text("\n".join(rows) + "\n")
    train = tiny.mapping("train")["data"]["train"]
    train.append({"name": "three", "kind": "triplets", "path": str(tmp_path / "triplets.csv"), "weight": 2})
    data = {"train": train, "on_bad_row": "skip"}
    text = plan(tiny, "baseline", method="lora", data=data, optim={"batch_size": 6, "steps": 10})
    assert row(text, "negatives, pairs") == "5 in-batch per anchor, before masking"
    assert row(text, "negatives, three") == "5 in-batch + 6 hard = 11 per anchor, before masking"
    assert row(text, "train three") == "triplets, 4 rows, 1 skipped, 50% of the batches: about 30 examples"
    assert row(text, "train pairs") == "pairs, 32 rows, 0 skipped, 25% of the batches: about 15 examples"
    assert row(text, "dev intents") == "knn, 72 texts, 0 skipped, selects"
    assert row(text, "dev sts") == "sts, 24 texts, 0 skipped, reported only"
    assert "  warning: data.train 'three': 1 bad rows were skipped" in text.splitlines()
    assert row(text, "evaluations").startswith("6: ")


class Product(Embedder):
    """x * weight, x (B, 10) made anew: backward needs x, 40 bytes a text, and the weight itself."""

    def __init__(self) -> None:
        super().__init__(Readout.plain(0))
        self.weight = nn.Parameter(torch.ones(10))
        self.frozen = nn.Parameter(torch.ones(7, dtype=torch.bfloat16), requires_grad=False)

    def embed(self, texts: Sequence[str], instructions: Sequence[str], *, memory: object = None) -> Tensor:
        return torch.randn(len(texts), 10) * self.weight

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        return {"model": [self.weight]}


@pytest.mark.parametrize(("micro_batch_size", "texts_a_pass"), [(None, 12), (5, 5), (100, 12)])
def test_memory_is_counted_and_scaled(micro_batch_size: int | None, texts_a_pass: int) -> None:
    ids = np.arange(6)
    texts = [f"text {i}" for i in range(6)]
    batch = Batch("set", texts, texts, [], "", "", ids, ids, ids[:0])
    estimate = estimate_memory(Product(), batch, micro_batch_size=micro_batch_size, num_distinct_texts=99)
    assert estimate.weights == 4 * 10 + 2 * 7
    assert estimate.optimizer == 3 * 4 * 10
    assert estimate.texts_a_pass == texts_a_pass
    assert estimate.saved == texts_a_pass * 4 * 10
    assert estimate.soft_tokens == 0
    assert estimate.total == estimate.weights + estimate.optimizer + estimate.saved


def test_nothing_is_written(tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = files(tiny.root, source)
    text = plan(tiny, "adapt", source=source)
    assert text.endswith("Nothing was trained, nothing was written.")
    assert files(tiny.root, source) == before
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_found_as_in_a_run(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="adapt needs --source"):
        plan(tiny, "adapt")
