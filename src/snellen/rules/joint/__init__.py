"""Rules about two subjects at once."""
