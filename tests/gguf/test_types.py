"""The type tables agree with the format's own package."""

import gguf
import pytest

from headlong.errors import GGUFError
from headlong.gguf import DECODABLE, GGMLType, ValueType
from headlong.gguf.blocks import LAYOUTS
from headlong.gguf.types import FOREIGN_TYPES


@pytest.mark.parametrize("kind", GGMLType)
def test_numbers_and_sizes_are_those_of_the_reference(kind: GGMLType) -> None:
    reference = gguf.GGMLQuantizationType[kind.name]
    assert kind == reference
    assert (kind.block_size, kind.block_bytes) == gguf.GGML_QUANT_SIZES[reference]


def test_no_number_means_two_things() -> None:
    assert not set(FOREIGN_TYPES) & set(GGMLType)


@pytest.mark.parametrize("kind", ValueType)
def test_value_types_are_those_of_the_reference(kind: ValueType) -> None:
    assert kind == gguf.GGUFValueType[kind.name]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_record_layouts_fill_their_blocks(kind: GGMLType) -> None:
    assert LAYOUTS[kind].itemsize == kind.block_bytes
    assert kind in DECODABLE


def test_row_bytes() -> None:
    assert GGMLType.Q4_K.row_bytes(2048) == 8 * 144
    assert GGMLType.Q4_K.bits_per_weight == 4.5
    with pytest.raises(GGUFError, match="a row of 100 elements cannot be stored as Q4_K"):
        GGMLType.Q4_K.row_bytes(100)
