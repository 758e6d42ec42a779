"""The numbers GGUF uses for types: tensor block formats and metadata value types.

A tensor row is a run of blocks; a block holds `block_size` elements in `block_bytes` bytes. All
formats of ggml are known here by name and size, so that a file that holds one this engine cannot
run can still be inspected, copied and refused by name. Source of the numbers: the GGUF
specification and ggml's type table.
"""

from enum import IntEnum
from typing import Final

from headlong.errors import GGUFError

__all__ = ["DECODABLE", "FOREIGN_TYPES", "GGMLType", "ValueType"]


class GGMLType(IntEnum):
    """Tensor element format, by its number in the file."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41

    @property
    def block_size(self) -> int:
        """Elements per block; a row holds a multiple of it."""
        return _BLOCKS[self][0]

    @property
    def block_bytes(self) -> int:
        """Bytes per block."""
        return _BLOCKS[self][1]

    @property
    def bits_per_weight(self) -> float:
        """Mean bits that one element takes, scales included."""
        return 8 * self.block_bytes / self.block_size

    def row_bytes(self, cols: int) -> int:
        """Bytes of one row of `cols` elements.

        Raises:
            GGUFError: `cols` is not a multiple of the block size.
        """
        if cols % self.block_size:
            raise GGUFError(
                f"a row of {cols} elements cannot be stored as {self.name}: "
                f"its blocks hold {self.block_size} elements each."
            )
        return cols // self.block_size * self.block_bytes


# type: (elements per block, bytes per block). The byte counts are written as the sum of the
# block's fields: scales and minima first, then high bits, then the low bits of the elements.
_BLOCKS: Final[dict[GGMLType, tuple[int, int]]] = {
    GGMLType.F32: (1, 4),
    GGMLType.F16: (1, 2),
    GGMLType.Q4_0: (32, 2 + 16),
    GGMLType.Q4_1: (32, 2 + 2 + 16),
    GGMLType.Q5_0: (32, 2 + 4 + 16),
    GGMLType.Q5_1: (32, 2 + 2 + 4 + 16),
    GGMLType.Q8_0: (32, 2 + 32),
    GGMLType.Q8_1: (32, 4 + 4 + 32),
    GGMLType.Q2_K: (256, 16 + 64 + 2 + 2),
    GGMLType.Q3_K: (256, 32 + 64 + 12 + 2),
    GGMLType.Q4_K: (256, 2 + 2 + 12 + 128),
    GGMLType.Q5_K: (256, 2 + 2 + 12 + 32 + 128),
    GGMLType.Q6_K: (256, 128 + 64 + 16 + 2),
    GGMLType.Q8_K: (256, 4 + 256 + 32),
    GGMLType.IQ2_XXS: (256, 2 + 64),
    GGMLType.IQ2_XS: (256, 2 + 64 + 8),
    GGMLType.IQ3_XXS: (256, 2 + 64 + 32),
    GGMLType.IQ1_S: (256, 2 + 32 + 16),
    GGMLType.IQ4_NL: (32, 2 + 16),
    GGMLType.IQ3_S: (256, 2 + 64 + 8 + 32 + 4),
    GGMLType.IQ2_S: (256, 2 + 64 + 8 + 8),
    GGMLType.IQ4_XS: (256, 2 + 2 + 4 + 128),
    GGMLType.I8: (1, 1),
    GGMLType.I16: (1, 2),
    GGMLType.I32: (1, 4),
    GGMLType.I64: (1, 8),
    GGMLType.F64: (1, 8),
    GGMLType.IQ1_M: (256, 32 + 16 + 8),
    GGMLType.BF16: (1, 2),
    GGMLType.TQ1_0: (256, 48 + 4 + 2),
    GGMLType.TQ2_0: (256, 64 + 2),
    GGMLType.MXFP4: (32, 1 + 16),
    GGMLType.NVFP4: (64, 4 + 32),
    GGMLType.Q1_0: (128, 2 + 16),
}

DECODABLE: Final[frozenset[GGMLType]] = frozenset(
    {
        GGMLType.F32,
        GGMLType.F16,
        GGMLType.BF16,
        GGMLType.Q8_0,
        GGMLType.Q4_0,
        GGMLType.Q4_1,
        GGMLType.Q5_0,
        GGMLType.Q5_1,
        GGMLType.Q2_K,
        GGMLType.Q3_K,
        GGMLType.Q4_K,
        GGMLType.Q5_K,
        GGMLType.Q6_K,
        GGMLType.IQ4_NL,
        GGMLType.IQ4_XS,
        GGMLType.MXFP4,
    }
)
"""Formats that `dequantise` reads and `quantise` writes."""

FOREIGN_TYPES: Final[dict[int, str]] = {
    4: "Q4_2, removed from ggml in 2023",
    5: "Q4_3, removed from ggml in 2023",
    31: "Q4_0_4_4, removed from ggml in 2024",
    32: "Q4_0_4_8, removed from ggml in 2024",
    33: "Q4_0_8_8, removed from ggml in 2024",
    36: "IQ4_NL_4_4, removed from ggml in 2025",
    37: "IQ4_NL_4_8, removed from ggml in 2025",
    38: "IQ4_NL_8_8, removed from ggml in 2025",
    133: "Q6_0 of ik_llama.cpp",
    134: "IQ1_BN of ik_llama.cpp",
    135: "IQ2_BN of ik_llama.cpp",
    137: "IQ2_K of ik_llama.cpp",
    138: "IQ3_K of ik_llama.cpp",
    139: "IQ4_K of ik_llama.cpp",
    140: "IQ5_K of ik_llama.cpp",
    141: "IQ6_K of ik_llama.cpp",
    144: "IQ4_KS of ik_llama.cpp",
    145: "IQ2_KS of ik_llama.cpp",
    146: "IQ4_KSS of ik_llama.cpp",
    152: "IQ5_KS of ik_llama.cpp",
    153: "IQ2_KT of ik_llama.cpp",
    154: "IQ3_KT of ik_llama.cpp",
    155: "IQ4_KT of ik_llama.cpp",
    156: "IQ3_KS of ik_llama.cpp",
    157: "IQ2_KL of ik_llama.cpp",
    158: "IQ1_KT of ik_llama.cpp",
}
"""Numbers that mean a type elsewhere, or did once: for messages only."""


class ValueType(IntEnum):
    """Type of a metadata value, by its number in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12

    @property
    def struct_code(self) -> str:
        """Little-endian `struct` (and numpy dtype) code; only for numbers and booleans."""
        return _STRUCT_CODES[self]

    @property
    def width(self) -> int:
        """Bytes of one value; 0 for strings and arrays, whose size is in the file."""
        return _WIDTHS.get(self, 0)


_STRUCT_CODES: Final[dict[ValueType, str]] = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.FLOAT32: "<f",
    ValueType.BOOL: "<B",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT64: "<d",
}

_WIDTHS: Final[dict[ValueType, int]] = {
    ValueType.UINT8: 1,
    ValueType.INT8: 1,
    ValueType.UINT16: 2,
    ValueType.INT16: 2,
    ValueType.UINT32: 4,
    ValueType.INT32: 4,
    ValueType.FLOAT32: 4,
    ValueType.BOOL: 1,
    ValueType.UINT64: 8,
    ValueType.INT64: 8,
    ValueType.FLOAT64: 8,
}
