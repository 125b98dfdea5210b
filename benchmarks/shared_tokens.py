"""How many tokens each pair of vocabularies shares: the anchors that the alignment can start from.

    python benchmarks/shared_tokens.py TOKENIZER TOKENIZER [...]

Each TOKENIZER is a folder, a .gguf file or a hub id. Tokens are compared by the bytes they stand for.
"""

import argparse
from itertools import permutations
from pathlib import Path

from transformers import AutoTokenizer

from transferkit.decoder.loading import load_tokenizer
from transferkit.prompting.anchors import shared_tokens


def main() -> None:
    """Print one row an ordered pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="TOKENIZER")
    names = parser.parse_args().names
    if len(names) < 2:
        parser.error("expected at least two")
    tokenizers = {}
    for name in names:
        alone = (Path(name) / "tokenizer.json").is_file()  # a folder may hold a tokenizer and no model
        made = AutoTokenizer.from_pretrained(name, trust_remote_code=False) if alone else load_tokenizer(name)
        tokenizers[Path(name).name] = made
    print(f"{'from':16s} {'to':16s} {'shared':>7s} {'of the smaller':>15s}")
    for first, second in permutations(tokenizers, 2):
        sizes = len(tokenizers[first]), len(tokenizers[second])
        ids, _ = shared_tokens(tokenizers[first], tokenizers[second], rows=sizes)
        print(f"{first:16s} {second:16s} {len(ids):7d} {100 * len(ids) / min(sizes):13.1f} %")


if __name__ == "__main__":
    main()
