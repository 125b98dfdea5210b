"""Which share of `transferkit evaluate`'s time is spent in the encoder, with a decoder of a size that matters.

    python benchmarks/evaluate_share.py --tasks-from DIR --tasks A,B

DIR and the tasks are those of `transferkit evaluate --tasks-from`. The decoder has random weights and the tokenizer of
a bundled one: what a pass costs does not depend on them. The command says the share; what is left over is mteb's
reading, sampling and scoring.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers import AutoConfig, AutoModel, AutoTokenizer

from transferkit.files.builtin import bundled_dir


def main() -> None:
    """Write the decoder, evaluate it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks-from", required=True)
    parser.add_argument("--tasks")
    parser.add_argument("--model-type", default="llama")
    for name, default in (("layers", 12), ("width", 768), ("max-length", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        decoder = Path(folder, "decoder")
        tokenizer = AutoTokenizer.from_pretrained(bundled_dir("bundled-llama-5m"))
        config = AutoConfig.for_model(
            given.model_type,
            vocab_size=len(tokenizer),
            hidden_size=given.width,
            intermediate_size=4 * given.width,
            num_hidden_layers=given.layers,
            num_attention_heads=given.width // 64,
            num_key_value_heads=given.width // 64,
        )
        model = AutoModel.from_config(config)
        print(f"{given.model_type}, {given.layers} x {given.width}: {model.num_parameters():,} parameters", flush=True)
        model.save_pretrained(decoder)
        tokenizer.save_pretrained(decoder)
        command = [sys.executable, "-m", "transferkit", "evaluate", str(decoder), "--tasks-from", given.tasks_from]
        command += ["--tasks", given.tasks] if given.tasks else []
        command += ["--max-length", str(given.max_length), "--out", str(Path(folder, "scores"))]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
