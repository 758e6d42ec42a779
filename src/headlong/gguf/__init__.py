"""GGUF files: open, describe, decode, encode, write."""

from headlong.gguf.quant import quantise
from headlong.gguf.types import DECODABLE, GGMLType, ValueType
from headlong.gguf.writer import GGUFWriter

__all__ = ["DECODABLE", "GGMLType", "GGUFWriter", "ValueType", "quantise"]
