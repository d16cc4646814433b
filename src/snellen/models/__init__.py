"""Networks by name, each of them an `nn.Module` with `task` and `num_classes` attributes."""

from snellen.models.registry import ModelError, create, model_names

__all__ = ["ModelError", "create", "model_names"]
