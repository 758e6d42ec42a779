"""GGUF files: open, describe, decode, encode, write."""

from headlong.gguf.dequant import dequantise
from headlong.gguf.header import TensorInfo
from headlong.gguf.metadata import Metadata
from headlong.gguf.names import (
    BlockShapes,
    Difference,
    ExpectedTensor,
    ExpertShapes,
    compare_tensors,
    expected_tensors,
)
from headlong.gguf.quant import quantise
from headlong.gguf.reader import GGUFFile, open_gguf
from headlong.gguf.types import DECODABLE, GGMLType, ValueType
from headlong.gguf.writer import GGUFWriter

__all__ = [
    "DECODABLE",
    "BlockShapes",
    "Difference",
    "ExpectedTensor",
    "ExpertShapes",
    "GGMLType",
    "GGUFFile",
    "GGUFWriter",
    "Metadata",
    "TensorInfo",
    "ValueType",
    "compare_tensors",
    "dequantise",
    "expected_tensors",
    "open_gguf",
    "quantise",
]
