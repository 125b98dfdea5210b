"""Where the pooled positions look."""
