"""Rewrites of networks: each takes a model and returns a changed copy."""

from snellen.network.rewrites.bias import drop_bias_before_norm
from snellen.network.rewrites.fusion import fuse_batchnorm
from snellen.network.rewrites.norms import batchnorm_to_groupnorm, batchnorm_to_syncbatchnorm

__all__ = ["batchnorm_to_groupnorm", "batchnorm_to_syncbatchnorm", "drop_bias_before_norm", "fuse_batchnorm"]
