"""The way out: a checkpoint as a folder that sentence-transformers loads."""
