"""Rules about a training run."""
