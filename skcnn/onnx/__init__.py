"""Export to ONNX, for onnxruntime and everything else that runs it."""

from .export import register, to_onnx
from .graph import Graph, Tensor
from .layers import CONVERTERS

__all__ = ["CONVERTERS", "Graph", "Tensor", "register", "to_onnx"]
