"""Files on disk: JSON, folders that are whole or absent, locks, texts and vectors. Nothing here knows a model."""
