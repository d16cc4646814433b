"""Reads datasets of every format and measures them."""
