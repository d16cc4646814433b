"""Scores predictions, in the references' own conventions, and explains every lost point."""
