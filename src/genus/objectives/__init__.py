"""What is minimised; knows no loop."""
