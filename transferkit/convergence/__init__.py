"""Run records -> convergence table, in every form in which people read one. Never imports torch."""

from transferkit.convergence.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
