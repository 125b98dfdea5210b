"""The three verbs that make a run."""
