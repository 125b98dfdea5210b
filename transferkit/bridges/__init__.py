"""Keep an index when the decoder changes: a map from a new embedder's vectors to an old one's."""
