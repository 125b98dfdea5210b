"""Models on mteb's tasks, or on folders of one's own."""
