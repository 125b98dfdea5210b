"""Methods on disk: saved, loaded, opened by name."""
