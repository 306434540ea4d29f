"""What an answer is worth, by a rule that can be checked: for phases that learn from their attempts, and measures."""
