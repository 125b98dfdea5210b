"""Files of vectors: what made them, how they are written, how they are read."""
