"""Where an output came from, and how anyone can check it."""
