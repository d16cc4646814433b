"""Measures a network: cost, memory, receptive field."""
