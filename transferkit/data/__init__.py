"""Tables -> training batches and dev sets with their scores."""
