"""Networks in ONNX files: their graph rebuilt of PyTorch operators, so that they are examined as any module is."""

from snellen.network.onnx.graph import OnnxNetwork, load_onnx

__all__ = ["OnnxNetwork", "load_onnx"]
