"""The verbs that make and use vectors."""
