"""The one loop: batches, loss, optimizer, evaluation, resumable state."""
