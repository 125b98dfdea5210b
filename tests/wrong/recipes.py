"""Wrong backbones, recipes and data: a command line, what is spoilt before it, and what the error must say."""

from wrong import inputs as spoil
from wrong.inputs import Case

BAD_JSON = b'{"anchor": "caf\xe9", "positive": "x"}\n'
TEMPLATE = "embedding.template"

CASES = {
    # --- sections that do not fit the task
    "a lever that is gone": Case(
        "adapt $ADAPT --source $SOURCE --set alignment.basis=whitened",
        ("alignment.basis: 'whitened' is no longer offered", "remove this key"),
    ),
    "cool-down longer than the run": Case(
        "adapt $ADAPT --source $SOURCE --set optim.cooldown_steps=9",
        ("optim: cooldown_steps: expected at most what warm-up leaves of the steps (4), got 9",),
    ),
    "seconds of training for what trains nothing": Case(
        "baseline $BASELINE --method frozen --set optim.seconds=9",
        ("optim.seconds: frozen trains nothing that could end early; leave it away",),
    ),
    "no seconds of training": Case(
        "adapt $ADAPT --source $SOURCE --set optim.seconds=0", ("optim.seconds: ", "greater than 0, got 0")
    ),
    # --- backbones
    "unknown backbone": Case(
        "train $TRAIN --target qwen3-0.6",
        ("unknown backbone 'qwen3-0.6'", "did you mean 'qwen3-0.6b'?", "backbones list"),
    ),
    "folder without config": Case(
        "train $TRAIN --target ./empty", ("./empty: not a model folder", "config.json"), spoil.folder("empty")
    ),
    "hub id without network": Case(
        "train $TRAIN --target org/none", ("org/none: neither a local folder nor reachable", "network", "hf auth login")
    ),
    "absolute path that is not there": Case(
        "train $TRAIN --target /nowhere/model", ("/nowhere/model: no such model folder",)
    ),
    "weights missing": Case(
        "train $TRAIN --target model",
        ("model: the checkpoint lacks 1 weights", "layers.0.attention.dense.weight", "random"),
        spoil.model(spoil.drop_tensor),
    ),
    "fewer layers in the config than in the weights": Case(
        "train $TRAIN --target model",
        ("weights of its decoder (gpt_neox.layers.1.", "no place in the model", "restore both from one source"),
        spoil.model(num_hidden_layers=1),
    ),
    "no layers in the config": Case(
        "train $TRAIN --target model",
        ("model: num_layers: input should be greater than or equal to 1, got 0",),
        spoil.model(num_hidden_layers=0),
    ),
    "fewer layers, and a count of layers that predict": Case(
        "train $TRAIN --target model",
        ("weights of its decoder (gpt_neox.layers.1.", "no place in the model"),
        spoil.model(num_hidden_layers=1, num_nextn_predict_layers="1"),
    ),
    "a switch of the config under which weights are left over": Case(
        "train $TRAIN --target model",
        ("4 weights of its decoder (gpt_neox.layers.0.attention.dense.bias", "no place in the model"),
        spoil.model(attention_bias=False),
    ),
    "pickled weights only": Case(
        "train $TRAIN --target model", ("holds no safetensors weights", "convert"), spoil.model(spoil.pickle_weights)
    ),
    "pickled weights of the Prompting LLM": Case(
        "train $TRAIN --set prompting.backbone=model",
        ("model: holds no safetensors weights", "convert"),
        spoil.model(spoil.pickle_weights),
    ),
    "truncated weights": Case(
        "train $TRAIN --target model", ("model: its weights are damaged", "again"), spoil.model(spoil.truncate_weights)
    ),
    "weights of another shape": Case(
        "train $TRAIN --target model",
        ("model: its weights have other shapes than its config.json says",),
        spoil.model(hidden_size=64),
    ),
    "remote code": Case(
        "train $TRAIN --target model",
        ("model: needs code of its own", "does not run"),
        spoil.model(model_type="own", auto_map={"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"}),
    ),
    "unknown architecture": Case(
        "train $TRAIN --target model", ("does not know its model type 'own'",), spoil.model(model_type="own")
    ),
    "config.json that is not JSON": Case(
        "train $TRAIN --target model",
        ("model: cannot be loaded", "not a valid JSON file"),
        spoil.both(spoil.model(), spoil.write("model/config.json", "{")),
    ),
    "no tokenizer": Case(
        "train $TRAIN --target model",
        ("its tokenizer has no tokens", "tokenizer.json"),
        spoil.model(spoil.drop_tokenizer),
    ),
    "encoder-decoder": Case(
        "train $TRAIN --target model", ("an encoder-decoder (t5)", "expected a decoder"), spoil.encoder_decoder
    ),
    "more soft tokens than the backbone's context": Case(
        "train $TRAIN --set prompting.tokens=100", ("100 soft tokens", "a context of 64 positions", "prompting.tokens")
    ),
    "more soft tokens than the Prompting LLM's context": Case(
        "train $TRAIN --set prompting.tokens=62", ("prompting.tokens: ", "62 soft tokens", "a context of 64 positions")
    ),
    "unknown quantisation": Case(
        "train $TRAIN --quantize int8", ("embedding.quantization", "'none' or 'nf4'", "'int8'")
    ),
    "bitsandbytes not installed": Case(
        "train $TRAIN --quantize nf4",
        ("needs bitsandbytes", "pip install bitsandbytes"),
        spoil.not_installed("bitsandbytes"),
    ),
    "nothing to quantise": Case(
        "train $TRAIN --quantize nf4",
        ("found no layer that it can quantise", "quantization: none"),
        spoil.nothing_to_quantise,
    ),
    # --- recipes
    "unknown recipe": Case(
        "train qwen3/trian", ("unknown recipe 'qwen3/trian'", "did you mean 'qwen3/train'?", "recipes list")
    ),
    "recipe file without its ending": Case("adapt adapt", ("unknown recipe 'adapt'; did you mean 'adapt.yaml'?",)),
    "recipe of another task": Case("train $ADAPT", ("adapt.yaml: task: expected 'train'", "got 'adapt'")),
    "recipe file that is not there": Case("train none.yaml", ("none.yaml: no such file",)),
    "recipe that is a folder": Case("train dir.yaml", ("dir.yaml: is a folder",), spoil.folder("dir.yaml")),
    "empty recipe": Case("train a.yaml", ("a.yaml: expected a mapping", "an empty file"), spoil.write("a.yaml", "")),
    "malformed YAML": Case(
        "train a.yaml", ("a.yaml, line 2, column 5: not valid YAML",), spoil.write("a.yaml", "task: [train\nseed: 3\n")
    ),
    "key written twice": Case(
        "train $TRAIN",
        ("train.yaml, line ", "column 1", "'seed' is written twice"),
        spoil.recipe("train", lambda t: t + "seed: 4\n"),
    ),
    "unknown key": Case(
        "train $TRAIN",
        ("train.yaml: optim.stepz: unknown key", "did you mean 'steps'?"),
        spoil.recipe("train", lambda t: t.replace("  steps:", "  stepz:")),
    ),
    "unknown key of the command line": Case(
        "train $TRAIN --set optim.stepz=3", ("error: --set optim.stepz=3: optim.stepz: unknown key", "'steps'?")
    ),
    "value of the command line": Case(
        "train $TRAIN --set optim.steps=-1", ("error: --set optim.steps=-1: optim.steps: input should be greater",)
    ),
    "section of the command line": Case(
        "train $TRAIN --set data={train:[],dev:3}", ("error: --set data={train:[],dev:3}: data.",)
    ),
    "missing key": Case(
        "train $TRAIN",
        ("train.yaml: optim.steps: this key is missing",),
        spoil.recipe("train", lambda t: t.replace("  steps: 4\n", "")),
    ),
    "number in quotes": Case(
        "train $TRAIN",
        ("optim.lr: expected a number", "the text '1e-3'"),
        spoil.recipe("train", lambda t: t.replace("  steps: 4\n", "  steps: 4\n  lr: '1e-3'\n")),
    ),
    "base that is not there": Case(
        "train a.yaml",
        ("a.yaml: base: no built-in recipe 'qwen3/trian'", "did you mean 'qwen3/train'?", "recipes list"),
        spoil.write("a.yaml", "base: qwen3/trian\n"),
    ),
    "base file that is not there": Case(
        "train a.yaml", ("a.yaml: base: no file none.yaml", "relative to"), spoil.write("a.yaml", "base: none.yaml\n")
    ),
    "base on a base": Case(
        "train a.yaml",
        ("a.yaml: base: b.yaml has a base itself", "one level", "recipes show b.yaml"),
        spoil.both(spoil.write("a.yaml", "base: b.yaml\n"), spoil.write("b.yaml", "base: qwen3/train\n")),
    ),
    "--set of a base": Case("train $TRAIN --set base=qwen3/train", ("--set base=qwen3/train", "named in a file")),
    "wrong type": Case(
        "train $TRAIN --set optim.steps=four", ("optim.steps: expected a whole number", "the text 'four'")
    ),
    "bad literal": Case(
        "train $TRAIN --set data.train.0.kind=pair",
        ("data.train.0.kind: expected", "'triplets'", "got 'pair'", "did you mean 'pairs'?"),
    ),
    "negative number": Case("train $TRAIN --set optim.lr=-1", ("optim.lr: ", "greater than 0", "got -1")),
    "infinite number": Case("train $TRAIN --set optim.lr=.inf", ("optim.lr: ", "finite", "got inf")),
    **{
        f"{key} that would overflow": Case(
            f"train $TRAIN --set {key}={value}", (f"{key}: ", "less than or equal to 1000000")
        )
        for key, value in (
            ("optim.lr", "1e38"),
            ("optim.weight_decay", "1e39"),
            ("optim.batch_size", "2147483647"),
            ("eval.keep_states_gib", "1e300"),
        )
    },
    "warm-up as long as the run": Case(
        "train $TRAIN --set optim.warmup_steps=4", ("warmup_steps: expected fewer than steps (4), got 4",)
    ),
    "train: template without {soft}": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{text}}'\"",
        ("embedding.template: '{text}' has no {soft}", "'{text}{soft}'"),
    ),
    "adapt: template without {soft}": Case(
        f"adapt $ADAPT --source $SOURCE --set {TEMPLATE}=\"'{{text}}'\" --set embedding.pooling=mean",
        ("embedding.template: '{text}' has no {soft}", "'{text}{soft}'"),
    ),
    "prompt tuning: template without {soft}": Case(
        f"baseline $BASELINE --method prompt-tuning --set {TEMPLATE}=\"'{{text}}'\" --set embedding.pooling=last",
        ("embedding.template: '{text}' has no {soft}", "'{text}{soft}'"),
    ),
    "frozen: template with {soft}": Case(
        "baseline $BASELINE --method frozen --set frozen.templates=\"['{text}{soft}']\"",
        ("frozen.templates: template '{text}{soft}'", "no {soft} tokens"),
    ),
    "unknown placeholder": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{text}}{{sofd}}'\"",
        ("unknown placeholder {sofd}", "allowed: {text}, {soft}, {instruction}"),
    ),
    "{text} twice": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{text}}{{text}}{{soft}}'\"", ("needs {text} exactly once", "2 times")
    ),
    "static alone learns nothing": Case(
        "adapt $ADAPT --source $SOURCE --set embedding.pooling=static",
        ("embedding.pooling: 'static' reads no hidden state", "nothing would learn", "use soft+static"),
    ),
    "static alone learns nothing in LoRA": Case(
        "baseline $BASELINE --method lora --set embedding.pooling=static",
        ("embedding.pooling: 'static' reads no hidden state", "mean+static without soft tokens"),
    ),
    "pooling soft+static, prefix template": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{soft}}{{text}}'\" --set embedding.pooling=soft+static",
        ("pooling: 'soft+static'", "never see it", "last, mean, weighted_mean, max, static"),
    ),
    "pooling soft, prefix template": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{soft}}{{text}}'\" --set embedding.pooling=soft",
        ("pooling: 'soft'", "never see it", "last, mean, weighted_mean, max"),
    ),
    "pooling soft by default, prefix template": Case(
        f"train $TRAIN --set {TEMPLATE}=\"'{{soft}}{{text}}'\"",
        ("embedding.pooling: 'soft'", "never see it", "last, mean, weighted_mean, max, static"),
    ),
    "--set without =": Case("train $TRAIN --set optim.steps", ("--set optim.steps: expected key.path=value",)),
    "--set to a position out of range": Case(
        "train $TRAIN --set data.train.7.weight=2", ("--set data.train.7.weight=2", "a position from 0 to 1", "'7'")
    ),
    "--set below a value": Case(
        "train $TRAIN --set seed.x=2", ("--set seed.x=2", "stands below a value that has no keys")
    ),
    "--set with braces": Case(
        f"train $TRAIN --set {TEMPLATE}={{text}}{{soft}}",
        ("--set embedding.template", "not valid YAML", "quotes inside"),
    ),
    "no recipe, no target": Case("train", ("needs a recipe or a --target", "recipes list")),
    "no recipe for the family": Case(
        "train --target ./model",
        ("no built-in train recipe for the family 'bloom'", "recipes new"),
        spoil.model(model_type="bloom"),
    ),
    "tracking tool that is not installed": Case(
        "train $TRAIN --set tracking=wandb",
        ("tracking: 'wandb' is not installed", "pip install wandb"),
        spoil.not_installed("wandb"),
    ),
    "unknown tracking tool": Case("train $TRAIN --set tracking=mlflow", ("tracking: expected 'none'", "got 'mlflow'")),
    "batch size and processes": Case(
        "baseline $BASELINE --method tfidf",
        ("optim.batch_size: 8 is not divisible by 3 processes",),
        spoil.processes(3),
    ),
    "a file where --runs should be": Case(
        "train $TRAIN --runs file", ("file: cannot write there", "is a file", "--runs"), spoil.write("file")
    ),
    "--runs below a file": Case(
        "train $TRAIN --runs file/runs", ("file/runs: cannot write there", "--runs"), spoil.write("file")
    ),
    # --- data
    "missing data file": Case(
        "train $TRAIN", ("data.train 'pairs'", "pairs.jsonl: no such file"), spoil.remove("data/pairs.jsonl")
    ),
    "relative data file that is not here": Case(
        "train $TRAIN --data-dir .", ("intents.csv: no such file", "looked in", "--data-dir")
    ),
    "missing dev file": Case("train $TRAIN", ("data.dev 'sts'", "sts.tsv: no such file"), spoil.remove("data/sts.tsv")),
    "missing column": Case(
        "train $TRAIN",
        ("intents.csv: no column 'text'", "did you mean 'txt'?", "txt, label", "columns: {text: ...}"),
        spoil.data("intents.csv", "txt,label\na,b\n"),
    ),
    "wrong role in columns": Case(
        "train $TRAIN --set 'data.train.0.columns={texte: a}'",
        ("unknown role 'texte'", "'labelled'", "allowed: text, label"),
    ),
    "empty file": Case("train $TRAIN", ("pairs.jsonl: the file is empty",), spoil.data("pairs.jsonl", "")),
    "header alone": Case("train $TRAIN", ("intents.csv: holds no rows",), spoil.data("intents.csv", "text,label\n")),
    "null": Case(
        "train $TRAIN",
        ("pairs.jsonl, row 33, column 'anchor': expected text, got null", "on_bad_row: skip"),
        spoil.data("pairs.jsonl", '{"anchor": null, "positive": "x"}\n', append=True),
    ),
    "blank text": Case(
        "train $TRAIN",
        ("intents.csv, row 41, column 'text': expected text, got only blanks", "on_bad_row: skip"),
        spoil.data("intents.csv", " ,cat\n", append=True),
    ),
    "number where a text belongs": Case(
        "train $TRAIN",
        ("pairs.jsonl, row 33, column 'anchor': expected text, got int 3",),
        spoil.data("pairs.jsonl", '{"anchor": 3, "positive": "x"}\n', append=True),
    ),
    "labels with one text each": Case(
        "train $TRAIN",
        ("intents.csv: expected at least two labels with two different texts each", "'pairs'"),
        spoil.data("intents.csv", "text,label\na,cat\na,cat\nb,dog\nc,car\n"),
    ),
    "all positives identical": Case(
        "train $TRAIN",
        ("pairs.jsonl: all 2 positives are the same text", "negative"),
        spoil.data("pairs.jsonl", '{"anchor": "a", "positive": "x"}\n{"anchor": "b", "positive": "x"}\n'),
    ),
    "ragged csv": Case(
        "train $TRAIN",
        ("intents.csv, row 41: expected 2 fields", "got 3"),
        spoil.data("intents.csv", "a,b,c\n", append=True),
    ),
    "csv with an open quote": Case(
        "train $TRAIN",
        ("intents.csv, row 41: a quote opens there and is not closed; close it",),
        spoil.data("intents.csv", '"a cat,cat\n', append=True),
    ),
    "csv with text behind a quote": Case(
        "train $TRAIN",
        ("intents.csv, row 41: not valid csv (", "correct it"),
        spoil.data("intents.csv", '"a" cat,cat\n', append=True),
    ),
    "csv that is not UTF-8": Case(
        "train $TRAIN",
        ("intents.csv: cannot be read as UTF-8", "save the file as UTF-8"),
        spoil.data("intents.csv", b"caf\xe9,cat\n", append=True),
    ),
    "jsonl that is not UTF-8": Case(
        "train $TRAIN",
        ("pairs.jsonl: cannot be read as UTF-8", "save the file as UTF-8"),
        spoil.data("pairs.jsonl", BAD_JSON, append=True),
    ),
    "jsonl that is not JSON": Case(
        "train $TRAIN",
        ("pairs.jsonl: cannot be read as jsonl",),
        spoil.data("pairs.jsonl", '{"anchor": \n', append=True),
    ),
    "corrupt parquet": Case(
        "train $TRAIN --set data.train.1.path=bad.parquet",
        ("bad.parquet: cannot be read as parquet",),
        spoil.data("bad.parquet", b"PAR1 and nonsense"),
    ),
    "unknown kind of file": Case(
        "train $TRAIN --set data.train.1.path=a.xlsx", ("expected a file ending in .parquet, .jsonl", "got '.xlsx'")
    ),
    "a file of texts that is not there": Case(
        "adapt $ADAPT --source $SOURCE --unlabelled no.txt", ("data.train 'unlabelled'", "no.txt: no such file")
    ),
    "too few texts": Case(
        "adapt $ADAPT --source $SOURCE --unlabelled few.txt",
        ("few.txt: expected at least 100 different texts", "got 2; give more texts"),
        spoil.write("few.txt", "a\nb\na\n"),
    ),
    "a blank line among the texts": Case(
        "adapt $ADAPT --source $SOURCE --unlabelled blank.txt",
        ("blank.txt, row 2, column 'text': expected text, got an empty value", "on_bad_row: skip"),
        spoil.write("blank.txt", "a\n\nb\n"),
    ),
    "a teacher that is not there": Case(
        "adapt $ADAPT --source $SOURCE --teacher ./nobody", ("teacher.model: ./nobody: no such model folder",)
    ),
    "vectors that are not there": Case(
        "adapt $ADAPT --source $SOURCE --teacher no.npy", ("teacher.vectors: ", "no.npy: no such file", "embed")
    ),
    "vectors without their texts": Case(
        "adapt $ADAPT --source $SOURCE --teacher v.jsonl",
        ("teacher.vectors: v.jsonl holds no vector of", "more; embed the texts of this recipe again"),
        spoil.write("v.jsonl", '{"text": "a", "vector": [1, 2]}\n'),
    ),
    "vectors of different lengths": Case(
        "adapt $ADAPT --source $SOURCE --teacher v.jsonl",
        ("v.jsonl, row 2, column 'vector': expected 2 numbers", "embed the texts again"),
        spoil.write("v.jsonl", '{"text": "a", "vector": [1, 2]}\n{"text": "b", "vector": [1]}\n'),
    ),
    "vectors that are no vectors": Case(
        "adapt $ADAPT --source $SOURCE --teacher v.npy",
        ("teacher.vectors: ", "v.npy: cannot be read as npy", "embed the texts again"),
        spoil.write("v.npy", b"no numbers"),
    ),
    "texts alone without a teacher": Case(
        "train $TRAIN --set data.train.1.kind=texts --set data.train.1.columns.text=anchor",
        ("teacher: data.train 'pairs' holds texts alone", "source has no source", "teacher.model, or teacher.vectors"),
    ),
    "no dev set selects": Case("train $TRAIN --set data.dev.0.select=false", ("dev: no set has select: true",)),
    "dev scores all equal": Case(
        "train $TRAIN",
        ("sts.tsv: all 2 scores are equal",),
        spoil.data("sts.tsv", "sentence1\tsentence2\tscore\na\tb\t1\nc\td\t1\n"),
    ),
    "dev labels that no training text has": Case(
        "train $TRAIN",
        ("intents_dev.csv: none of its labels occurs in", "intents.csv"),
        spoil.data("intents_dev.csv", "text,label\na,bird\n"),
    ),
    "unknown split of built-in data": Case(
        "train $TRAIN --set data.train.1.path=null --set data.train.1.builtin=installed-docs "
        "--set data.train.1.split=trian",
        ("built-in data 'installed-docs' split 'trian': no split 'trian'; did you mean 'train'?", "dev, test, unseen"),
    ),
    "hub dataset of a recipe that was not named, without network": Case(
        "baseline --method tfidf --target $MODEL --quiet",
        ("the Hub cannot be reached", "`path`, or use bundled/baseline, which needs no network"),
        code=1,
    ),
    "the same in a dry run": Case(
        "train --target $MODEL --quiet --dry-run", ("`path`, or use bundled/train, which needs no network",), code=1
    ),
    "hub dataset without network": Case(
        "train $TRAIN --set data.train.1.path=null --set data.train.1.hub_id=org/none",
        ("Hub dataset 'org/none' split 'train': the Hub cannot be reached", "`path`"),
        code=1,
    ),
}
