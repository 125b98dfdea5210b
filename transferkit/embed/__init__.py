"""Files of texts -> vectors; a question -> the nearest texts."""
