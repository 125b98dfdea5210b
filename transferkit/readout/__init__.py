"""Pooled vectors -> finished ones, in closed form: fitted, chosen, applied."""
