"""The only loop, its optimisers, checkpoints and budget."""
