"""The dataset, its encoded caches, and sources of batches."""
