"""The command line: a thin shell that reads arguments, calls one library function and prints.

Nothing heavy is imported here or at the top of a verb's file, so that ``--help`` answers at once.
"""

from transferkit.cli.app import main

__all__ = ["main"]
