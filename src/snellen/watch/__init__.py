"""Watches any PyTorch training loop and records what rules need."""
