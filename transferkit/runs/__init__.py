"""The run folder as it lies on disk. Readable without torch."""
