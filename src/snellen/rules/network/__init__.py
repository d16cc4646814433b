"""Rules about a network before training."""
