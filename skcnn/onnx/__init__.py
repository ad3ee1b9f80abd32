"""Export to ONNX, for onnxruntime and other runtimes, and import of networks from ONNX."""

from .export import register, to_onnx
from .graph import Graph, Tensor
from .imported import from_onnx
from .layers import CONVERTERS

__all__ = ["CONVERTERS", "Graph", "Tensor", "from_onnx", "register", "to_onnx"]
