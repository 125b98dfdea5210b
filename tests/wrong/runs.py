"""Wrong sources, runs, outputs and names: a command line, what is spoilt before it, and what the error must say."""

from wrong import inputs as spoil
from wrong.inputs import Case

CASES = {
    # --- sources and resumed runs
    "adapt without source": Case(
        "adapt $ADAPT", ("adapt needs --source; pass", "run folder of a `transferkit train`, or `bundled`")
    ),
    "LoRA checkpoint as source": Case(
        "adapt $ADAPT --source $LORA", ("a lora checkpoint holds no Prompting LLM", "`train`")
    ),
    "TF-IDF run as source": Case("adapt $ADAPT --source $TFIDF", ("a tfidf run has no checkpoint",)),
    "adapter of a checkpoint that fits no layer": Case(
        "embed run data/sts.tsv --column sentence1 --out x.npy",
        ("the adapter in this checkpoint has other layers than the backbone",),
        spoil.run_copy("lora", spoil.drop_adapter),
    ),
    "unfinished run as source": Case(
        "adapt $ADAPT --source run",
        ("run: this run has no checkpoint yet", "--resume"),
        spoil.run_copy("source", spoil.no_checkpoint),
    ),
    "folder as source": Case(
        "adapt $ADAPT --source empty", ("empty: not a complete checkpoint", "manifest.json"), spoil.folder("empty")
    ),
    "source that is not there": Case("adapt $ADAPT --source none", ("none: no such checkpoint or run folder",)),
    "decoder as source": Case(
        "adapt $ADAPT --source bundled-olmo2-5m",
        (
            "bundled-olmo2-5m: a decoder and no checkpoint",
            "`transferkit train` and `adapt` make one",
        ),
    ),
    "decoder to embed with": Case(
        "embed $MODEL data/intents.csv --out x.npy", ("a decoder and no checkpoint", "`bundled-toy`")
    ),
    "the source that ships to embed with": Case(
        "embed bundled data/intents.csv --out x.npy",
        ("bundled: is a source", "does not ship with it", "adapt --source bundled --target MODEL", "bundled-toy"),
    ),
    "the source that ships to export": Case("export bundled --to out", ("bundled: is a source", "bundled-toy")),
    "the source that ships to search with": Case(
        "search cat --checkpoint bundled --texts a.txt", ("bundled: is a source",), spoil.write("a.txt", "a\n")
    ),
    "the source that ships as a teacher": Case(
        "adapt $ADAPT --source bundled --unlabelled a.txt",
        ("texts alone need a teacher, and bundled cannot be it", "name one with --teacher"),
        spoil.write("a.txt", "".join(f"text number {i} of many\n" for i in range(120))),
    ),
    "damaged source": Case(
        "adapt $ADAPT --source run",
        ("learned.safetensors: differs from what was saved (sha256)", "restore"),
        spoil.run_copy("source", spoil.flip_bit),
    ),
    "source with a file missing": Case(
        "adapt $ADAPT --source run",
        ("config.json: missing from the checkpoint",),
        spoil.both(spoil.run_copy("source"), spoil.remove("run/checkpoint/prompting/config.json")),
    ),
    "source given to LoRA": Case(
        "baseline $BASELINE --method lora --source $SOURCE", ("--source is for adapt and prompting-llm-alone", "lora")
    ),
    "prompting LLM alone without source": Case(
        "baseline $BASELINE --method prompting-llm-alone",
        ("baseline --method prompting-llm-alone needs --source", "or `bundled`"),
    ),
    "prompting LLM alone that reads the instruction": Case(
        "baseline $BASELINE --method prompting-llm-alone --source run",
        ("reads the instruction alone", "no meaning"),
        spoil.run_copy("source", spoil.reads_instruction),
    ),
    "baseline without method": Case("baseline $BASELINE", ("baseline needs a method", "--method lora|qlora")),
    "unknown method": Case(
        "baseline $BASELINE --method lorra", ("method: expected 'lora'", "got 'lorra'", "did you mean 'lora'?")
    ),
    "method in an adapt recipe": Case(
        "adapt $ADAPT --source $SOURCE --set method=lora", ("method: only a baseline has one, this is an adapt recipe",)
    ),
    "method in a train recipe": Case("train $TRAIN --set method=lora", ("method: only a baseline has one",)),
    "resume with a recipe": Case("train $TRAIN --resume $SOURCE", ("--resume", "as it began", "no recipe")),
    "force a new run to resume": Case(
        "train $TRAIN --force-resume", ("--force-resume goes on with a run; name its folder with --resume",)
    ),
    "resume as a dry run": Case("train --resume $SOURCE --dry-run", ("--resume", "as it began", "no recipe")),
    "resume elsewhere": Case("train --resume $SOURCE --runs elsewhere", ("--resume", "where it is", "no recipe")),
    "dry run without source": Case("adapt $ADAPT --dry-run", ("adapt needs --source",)),
    "resume what is no run": Case("train --resume data", ("data: not a run folder", "record.json", "; give one that")),
    "resume with another verb": Case("adapt --resume $SOURCE", ("this is a train run", "`transferkit train --resume")),
    "resume an adapt run with another verb": Case(
        "train --resume run",
        ("this is an adapt run", "`transferkit adapt --resume run`"),
        spoil.run_copy("source", spoil.record(task="adapt")),
    ),
    "resume with other training data": Case(
        "baseline --resume run --force-resume",
        ("run: the training data changed", "new run"),
        spoil.both(
            spoil.run_copy("tfidf", spoil.resumes_with()), spoil.data("intents.csv", "the cat,cat\n", append=True)
        ),
    ),
    "resume with other dev data": Case(
        "baseline --resume run --force-resume",
        ("run: the dev sets changed", "new run"),
        spoil.both(
            spoil.run_copy("tfidf", spoil.resumes_with()), spoil.data("intents_dev.csv", "the cat,cat\n", append=True)
        ),
    ),
    "resume on other weights": Case(
        "baseline --resume run --force-resume",
        ("run: the backbone's weights changed", "new run"),
        spoil.run_copy("lora", spoil.resumes_with(backbone__weights_sha256="0" * 64)),
    ),
    "resume with another Prompting LLM": Case(
        "train --resume run --force-resume",
        ("run: the Prompting LLM changed since this run began", "new run"),
        spoil.run_copy("source", spoil.resumes_with(prompting_weights_sha256="0" * 64)),
    ),
    "resume a record of a newer format": Case(
        "baseline --resume run",
        ("record.json: format: expected 1, got 2",),
        spoil.run_copy("tfidf", spoil.record(format=2)),
    ),
    # --- compare
    "compare what is no run": Case("compare data", ("data: not a run folder", "record.json", "; give one that")),
    "compare a source run": Case("compare $SOURCE", ("is a source run", "adapt runs")),
    "compare a run twice": Case("compare $LORA $LORA", ("is given twice", "give every run once")),
    "compare an unfinished run": Case(
        "compare run",
        ("not finished", "(interrupted)", "--allow-unfinished"),
        spoil.run_copy("lora", spoil.no_checkpoint),
    ),
    "compare runs on other data": Case(
        "compare $LORA run",
        ("the training data differs", "compare only runs that share it"),
        spoil.run_copy("tfidf", spoil.record(data__train_sha256="0" * 64)),
    ),
    "compare runs on other dev sets": Case(
        "compare $LORA run", ("the dev sets differ",), spoil.run_copy("tfidf", spoil.record(data__dev_sha256="0" * 64))
    ),
    "compare runs on another target": Case(
        "compare $LORA run",
        ("the target backbone differs", "compare only runs that share it"),
        spoil.run_copy("lora", spoil.record(run="other", backbone__weights_sha256="0" * 64)),
    ),
    "compare a record of a newer format": Case(
        "compare run", ("record.json: format: expected 1, got 2",), spoil.run_copy("lora", spoil.record(format=2))
    ),
    "compare a damaged record": Case(
        "compare run",
        ("record.json: not valid JSON",),
        spoil.both(spoil.run_copy("lora"), spoil.write("run/record.json", "{")),
    ),
    "compare a record without its keys": Case(
        "compare run",
        ("record.json: run: this key is missing",),
        spoil.both(spoil.run_copy("lora"), spoil.write("run/record.json", '{"format": 1}')),
    ),
    "compare a record without its data": Case(
        "compare run",
        ("record.json: data.train_sha256: this key is missing", "restore it from a copy"),
        spoil.run_copy("lora", spoil.record(data={})),
    ),
    "compare a backbone without hashes": Case(
        "compare run",
        ("record.json: backbone.config_sha256: this key is missing", "restore it from a copy"),
        spoil.run_copy("lora", spoil.record(backbone={"name": "target"})),
    ),
    "compare an unknown method": Case(
        "compare run",
        ("record.json: method: expected 'lora'", "got 'loraa'; did you mean 'lora'?", "restore it from a copy"),
        spoil.run_copy("lora", spoil.record(method="loraa")),
    ),
    "compare a finished run that stands with no row": Case(
        "compare run",
        ("record.json: best: this key is missing, though the run is done",),
        spoil.run_copy("lora", spoil.record(best=None)),
    ),
    "compare a row without scores": Case(
        "compare run",
        ("metrics.jsonl, line 1: score: this key is missing", "restore it from a copy"),
        spoil.both(spoil.run_copy("lora"), spoil.write("run/metrics.jsonl", '{"step": 0}\n')),
    ),
    "compare a row that is none": Case(
        "compare run",
        ("metrics.jsonl, line 1: expected a JSON object, got null", "restore it from a copy"),
        spoil.both(spoil.run_copy("lora"), spoil.write("run/metrics.jsonl", "null\n")),
    ),
    "compare a run of another recipe file": Case(
        "compare run",
        ("recipe.yaml: task: this key is missing", "restore it from a copy"),
        spoil.both(spoil.run_copy("lora"), spoil.write("run/recipe.yaml", "a: 1\n")),
    ),
    "compare a run whose recipe names no known method": Case(
        "compare run",
        ("recipe.yaml: method: expected 'lora'", "got 'gone'", "restore it from a copy"),
        spoil.both(
            spoil.run_copy("lora"),
            spoil.write("run/recipe.yaml", "{task: baseline, method: gone, optim: {steps: 1}, data: {dev: []}}\n"),
        ),
    ),
    "compare into a file": Case(
        "compare $TFIDF --out file", ("file: cannot write the comparison",), spoil.write("file")
    ),
    # --- embed
    "embed below a file": Case(
        "embed $SOURCE data/intents.csv --out file/x.npy",
        ("file: cannot write there", "is a file", "--out"),
        spoil.write("file"),
    ),
    "embed to an unknown kind": Case(
        "embed $SOURCE data/intents.csv --out x.txt", ("--out x.txt: expected a file ending in .npy", "got '.txt'")
    ),
    "embed onto a file": Case(
        "embed $SOURCE data/intents.csv --out x.npy", ("--out x.npy: exists already",), spoil.write("x.npy")
    ),
    "embed a missing column": Case(
        "embed $SOURCE data/intents.csv --out x.npy --column txt",
        ("no column 'txt'", "did you mean 'text'?", "--column"),
    ),
    "embed a missing file": Case("embed $SOURCE none.csv --out x.npy", ("none.csv: no such file",)),
    "embed a blank line": Case(
        "embed $SOURCE a.txt --out x.npy",
        ("a.txt, line 2: expected a text, got a blank line",),
        spoil.write("a.txt", "a\n\nb\n"),
    ),
    "embed with a damaged checkpoint": Case(
        "embed run data/intents.csv --out x.npy",
        ("learned.safetensors: differs from what was saved",),
        spoil.run_copy("source", spoil.flip_bit),
    ),
    "embed on another backbone": Case(
        "embed $SOURCE data/intents.csv --out x.npy --backbone $MODEL",
        ("this checkpoint belongs to source", "differs", "weights", "`transferkit adapt --source"),
    ),
    # --- attention
    "attention without a text": Case("attention $LORA", ("expected one of --text and --texts, got none",)),
    "attention on a text and a file": Case(
        "attention $LORA --text cat --texts data/intents.csv", ("expected one of --text and --texts, got both",)
    ),
    "attention on a blank text": Case("attention $LORA --text ' '", ("--text is blank",)),
    "attention on a missing file": Case("attention $LORA --texts none.txt", ("none.txt: no such file",)),
    "attention on an empty file": Case(
        "attention $LORA --texts a.txt", ("a.txt: holds no texts",), spoil.write("a.txt", "")
    ),
    "attention into a file": Case(
        "attention $LORA --text cat --out file", ("file: cannot write", "is a file", "--out"), spoil.write("file")
    ),
    "attention with stop words that are not there": Case(
        "attention $LORA --text cat --stop-words none.txt", ("--stop-words none.txt: cannot be read",)
    ),
    "attention of an unknown decoder": Case(
        "attention bundled-llama-5 --text cat",
        ("unknown backbone 'bundled-llama-5'", "did you mean 'bundled-llama-5m'?"),
    ),
    "attention of a folder that is no model": Case(
        "attention empty --text cat", ("empty: not a complete checkpoint",), spoil.folder("empty")
    ),
    "attention of TF-IDF": Case("attention $TFIDF --text cat", ("a tfidf run has no checkpoint",)),
    "attention of a checkpoint with a template": Case(
        "attention $LORA --text cat --template plain", ("--template and --pooling are for a decoder alone",)
    ),
    "attention of a decoder that has moved": Case(
        "attention $MODEL --text cat --backbone $MODEL", ("--backbone says where a checkpoint's decoder lies",)
    ),
    "attention of a decoder's soft tokens": Case(
        "attention $MODEL --text cat --pooling soft", ("pooling: expected 'last'", "got 'soft'")
    ),
    "attention with an unknown template": Case(
        "attention $MODEL --text cat --template summry", ("template 'summry'", "did you mean 'summary'?")
    ),
    # --- augment
    "augment without a way": Case(
        "augment data/intents.csv --out x.parquet",
        ("augment needs a way to make pairs", "--llm MODEL", "--forward MODEL --backward MODEL", "--noise"),
    ),
    "augment with an unknown noise": Case(
        "augment data/intents.csv --out x.parquet --noise deletions",
        ("--noise deletions: expected deletion or swap", "did you mean 'deletion'?"),
    ),
    "augment with half a back-translation": Case(
        "augment data/intents.csv --out x.parquet --forward $MODEL", ("needs both --forward and --backward",)
    ),
    "augment with a prefix for nothing": Case(
        "augment data/intents.csv --out x.parquet --noise swap --forward-prefix x",
        ("--forward-prefix and --backward-prefix are for --forward and --backward",),
    ),
    "augment with a prompt for nothing": Case(
        "augment data/intents.csv --out x.parquet --noise swap --no-chat",
        ("--prompt, --prompts and --chat are for --llm",),
    ),
    "augment with an unknown prompt": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL --prompt plain-word",
        ("--prompt plain-word: no such prompt", "did you mean 'plain-words'?", "--prompts"),
    ),
    "augment with a chat template that is not there": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL --chat",
        ("target: its tokenizer has no chat template", "leave --chat away"),
    ),
    "augment with prompts of no YAML": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL --prompts a.yaml",
        ("a.yaml: promts: unknown key 'promts'; did you mean 'prompts'?",),
        spoil.write("a.yaml", "promts: []\n"),
    ),
    "augment with a text that the prompt leaves no room for": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL",
        ("--max-tokens 128: prompt 'other-words'", "do not fit the 64 positions of target", "use a shorter prompt"),
    ),
    "augment with an encoder-decoder as LLM": Case(
        "augment data/intents.csv --out x.parquet --llm ./model",
        ("./model: an encoder-decoder (t5)", "expected a decoder"),
        spoil.encoder_decoder,
    ),
    "augment with a decoder as translator": Case(
        "augment data/intents.csv --out x.parquet --forward $MODEL --backward $MODEL",
        ("no encoder-decoder (gpt_neox)", "a decoder goes to --llm"),
    ),
    "augment with pickled weights": Case(
        "augment data/intents.csv --out x.parquet --llm ./model",
        ("model: holds no safetensors weights; convert the checkpoint first",),
        spoil.model(spoil.pickle_weights),
    ),
    "augment onto a file": Case(
        "augment data/intents.csv --out x.parquet --noise swap",
        ("--out x.parquet: exists already",),
        spoil.write("x.parquet"),
    ),
    "augment to another kind of file": Case(
        "augment data/intents.csv --out x.csv --noise swap", ("--out x.csv: expected a file ending in .parquet",)
    ),
    "augment with limits that nothing passes": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL --min-overlap 0.9",
        ("--min-overlap 0.9: expected less than --max-overlap (0.9)",),
    ),
    "augment with limits for what no model writes": Case(
        "augment data/intents.csv --out x.parquet --noise swap --min-overlap 0.9",
        ("--min-overlap is for pairs that a model writes; give --llm, or --forward and --backward",),
    ),
    "augment with a cosine of nothing": Case(
        "augment data/intents.csv --out x.parquet --llm $MODEL --min-similarity 0.5",
        ("--min-similarity: a cosine needs an embedder; name one with --embedder",),
    ),
    "augment a missing column": Case(
        "augment data/intents.csv --out x.parquet --noise swap --column txt",
        ("no column 'txt'", "did you mean 'text'?"),
    ),
    "augment nothing": Case(
        "augment a.txt --out x.parquet --noise swap", ("a.txt: holds no texts",), spoil.write("a.txt", "")
    ),
    # --- search, studies, demo
    "search for nothing": Case("search ' '", ("the question is empty",)),
    "search a package in a file": Case(
        "search cat --texts a.txt --package numpy",
        ("--package chooses among docstrings, and --texts a.txt searches a file",),
        spoil.write("a.txt", "a\n"),
    ),
    "search vectors and packages": Case(
        "search cat --vectors a.npy --package numpy",
        ("--package chooses among docstrings, and --vectors a.npy searches that file; give one of them",),
        spoil.write("a.npy", "a\n"),
    ),
    "search missing vectors": Case(
        "search cat --checkpoint $SOURCE --vectors none.npy", ("--vectors none.npy: no such file", "transferkit embed")
    ),
    "search vectors that are none": Case(
        "search cat --checkpoint $SOURCE --vectors a.npy --texts a.txt",
        ("--vectors a.npy: cannot be read as npy",),
        spoil.both(spoil.write("a.npy", "a\n"), spoil.write("a.txt", "a\n")),
    ),
    "search texts as vectors": Case(
        "search cat --checkpoint $SOURCE --vectors a.txt",
        ("--vectors a.txt: expected a file ending in .npy, .jsonl, .parquet, got '.txt'",),
        spoil.write("a.txt", "a\n"),
    ),
    "search a missing file": Case("search cat --checkpoint $SOURCE --texts none.txt", ("none.txt: no such file",)),
    "search an empty file": Case(
        "search cat --checkpoint $SOURCE --texts a.txt", ("there are no texts to search",), spoil.write("a.txt", "")
    ),
    "bridge with an index that is a file": Case(
        "bridge $SOURCE $SOURCE --texts a.txt --index a.txt",
        ("a.txt: cannot write there", "choose another with --index"),
        spoil.write("a.txt", "a\n"),
    ),
    "search with no checkpoint": Case(
        "search cat --checkpoint none --texts a.txt",
        ("none: no such checkpoint or run folder", "`bundled`"),
        spoil.write("a.txt", "a\n"),
    ),
    "search with a folder that is no checkpoint": Case(
        "search cat --checkpoint empty --texts a.txt",
        ("empty: not a complete checkpoint",),
        spoil.both(spoil.folder("empty"), spoil.write("a.txt", "a\n")),
    ),
    "search with an index below a file": Case(
        "search cat --checkpoint $SOURCE --texts a.txt --index a.txt/index",
        ("a.txt/index: cannot write there", "choose another with --index"),
        spoil.write("a.txt", "a\n"),
    ),
    "study that is not there": Case("study none.yaml", ("none.yaml: no such file; check its name and folder",)),
    "study that is a folder": Case("study data", ("data: is a folder, expected a YAML file; name the one",)),
    "study of an unknown recipe": Case(
        "study a.yaml",
        ("unknown recipe 'mixture/adap'", "did you mean 'mixture/adapt'?"),
        spoil.write("a.yaml", "seeds: [1]\nruns: [{name: a, recipe: mixture/adap}]\n"),
    ),
    "study with a misspelt key": Case(
        "study a.yaml",
        ("a.yaml: runs.0.recpe: unknown key 'recpe'; did you mean 'recipe'?",),
        spoil.write("a.yaml", "seeds: [1]\nruns: [{name: a, recpe: mixture/adapt}]\n"),
    ),
    "study that sets the seed of every run": Case(
        "study a.yaml",
        ("a.yaml: set: 'seed' is not allowed here; `seeds` and `targets` name them",),
        spoil.write(
            "a.yaml", "seeds: [1]\nset: {seed: 3}\nruns: [{name: a, recipe: bundled/adapt, source: bundled}]\n"
        ),
    ),
    "study without the run asked for": Case(
        "study a.yaml --only b",
        ("--only b: the study has no such run; it has a",),
        spoil.write("a.yaml", "seeds: [1]\nruns: [{name: a, recipe: bundled/adapt, source: bundled}]\n"),
    ),
    "demo that trains without data": Case("demo --train", ("--train: the source was trained on files", "--data-dir")),
    "demo offline on a decoder": Case(
        "demo --offline --decoder $MODEL",
        ("--offline takes a bundled decoder, --decoder names", "leave one of them away"),
    ),
    "demo on no decoder": Case("demo --decoder ./none", ("./none: no such model folder",)),
    "demo below a file": Case("demo --runs file/x", ("file/x: cannot write there", "--runs"), spoil.write("file")),
    "attention of a mistyped run": Case(
        "attention runs/lora-tine --text cat",
        ("runs/lora-tine: the folder runs holds runs, but none of that name", "did you mean 'runs/lora-tiny'?"),
        spoil.write("runs/lora-tiny/record.json", "{}"),
    ),
    "evaluate a run that is not there": Case(
        "evaluate runs/nope --tasks-from sets",
        ("runs/nope: the folder runs holds runs, but none of that name", "`ls runs` shows"),
        spoil.both(
            spoil.write("runs/lora-tiny/record.json", "{}"),
            spoil.write("sets/sts/likeness/test.tsv", "sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2\n"),
        ),
    ),
    "a folder without runs and a hub id of that owner": Case(
        "attention org/none --text cat",
        ("org/none: neither a local folder nor reachable",),
        spoil.write("org/notes/readme.txt"),
    ),
    # --- backbones and recipes
    "show an unknown backbone": Case("backbones show qwen3-0.6", ("unknown backbone 'qwen3-0.6'", "'qwen3-0.6b'")),
    "probe an unknown backbone": Case("backbones probe none", ("none: no such model folder", "backbones list")),
    "probe onto a file": Case(
        "backbones probe $MODEL --write a.yaml", ("--write a.yaml: exists already",), spoil.write("a.yaml")
    ),
    "probe to another kind of file": Case(
        "backbones probe $MODEL --write a.csv", ("--write a.csv: expected a new file ending in .yaml",)
    ),
    "probe what has no width": Case(
        "backbones probe ./model",
        ("./model: its config names no hidden_size, so it is no decoder",),
        spoil.write("model/config.json", '{"model_type": "segformer"}'),
    ),
    "new recipes for an unknown backbone": Case(
        "recipes new --family other --backbone qwen3-0.6 --to to", ("unknown backbone 'qwen3-0.6'", "'qwen3-0.6b'")
    ),
    "copy recipes onto existing files": Case(
        "recipes copy qwen3 --to to",
        ("adapt.yaml: exists already", "nothing was written"),
        spoil.write("to/qwen3/adapt.yaml"),
    ),
    "copy an unknown recipe": Case("recipes copy qwen3/adap --to to", ("'qwen3/adap'", "did you mean 'qwen3/adapt'?")),
    "check an unknown recipe": Case("recipes check qwen3/adap", ("'qwen3/adap'", "did you mean 'qwen3/adapt'?")),
}
