"""What a trained model becomes for a later one: its codec. Knows no family: it asks what an objective offers."""
