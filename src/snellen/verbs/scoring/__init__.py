"""Anybody's predictions scored against a dataset: one file per shape of predictions."""
