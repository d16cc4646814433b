"""Rules about predictions and scores."""
