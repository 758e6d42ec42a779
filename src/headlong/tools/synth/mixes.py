"""Which type each tensor has in a file of a given quantisation.

A quantisation such as Q4_K_M is a rule, not a type: it stores some tensors with more bits. The
rules here are those of llama.cpp's quantiser without an importance matrix, for the tensors that
`qwen35` has. As in the published files, `ssm_alpha` and `ssm_beta` stay F32; vectors, norms and the
convolution always do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headlong.errors import ParameterError
from headlong.gguf.names import EMBEDDING, OUTPUT
from headlong.gguf.types import GGMLType

__all__ = ["MIXES", "Mix", "Place", "find_mix"]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor and where it stands."""

    name: str
    dimensions: int
    block: int  # index of its block; 0 outside the blocks
    blocks: int  # of the file, the MTP block included
    attention: int  # number of attention blocks before its own
    tied: bool


_Rule = Callable[[Place], GGMLType | None]


@dataclass(frozen=True, slots=True)
class Mix:
    """A quantisation by name."""

    name: str
    file_type: int  # value of `general.file_type`
    base: GGMLType
    head: GGMLType  # of the LM head, and of an embedding tied to it
    exceptions: tuple[tuple[str, _Rule], ...] = ()
    """(end of the name, rule); a rule that gives None leaves the base type."""

    def type_of(self, place: Place) -> GGMLType:
        """The type in which the tensor is stored."""
        if place.dimensions < 2 or place.name.endswith(_ALWAYS_F32):
            return GGMLType.F32
        if place.name == OUTPUT or (place.tied and place.name == EMBEDDING):
            return self.head
        for ending, rule in self.exceptions:
            if place.name.endswith(ending):
                return rule(place) or self.base
        return self.base


_ALWAYS_F32: Final = (
    "_norm.weight",
    "ssm_conv1d.weight",
    "ssm_alpha.weight",
    "ssm_beta.weight",
    "ssm_a",
    "ssm_dt.bias",
)


def _sensitive(index: int, count: int) -> bool:
    """The first and last eighth, and every third between."""
    eighth = count // 8
    return index < eighth or index >= 7 * count // 8 or (index - eighth) % 3 == 2


def _always(type: GGMLType) -> _Rule:
    return lambda place: type


def _first(share: int, type: GGMLType, rest: GGMLType | None = None) -> _Rule:
    """`type` in the first 1 / share of the blocks."""
    return lambda place: type if place.block < place.blocks // share else rest


def _values(count: int, type: GGMLType, rest: GGMLType | None = None) -> _Rule:
    """`type` in the first `count` attention blocks."""
    return lambda place: type if place.attention < count else rest


def _sensitive_blocks(type: GGMLType) -> _Rule:
    return lambda place: type if _sensitive(place.block, place.blocks) else None


def _sensitive_values(type: GGMLType) -> _Rule:
    # llama.cpp counts attention blocks only, but measures them against all blocks.
    return lambda place: type if _sensitive(place.attention, place.blocks) else None


_T = GGMLType
_V, _O, _QKV, _DOWN = "attn_v.weight", "attn_output.weight", "attn_qkv.weight", "ffn_down.weight"

MIXES: Final[tuple[Mix, ...]] = (
    Mix("F32", 0, _T.F32, _T.F32),
    Mix("F16", 1, _T.F16, _T.F16),
    Mix("BF16", 32, _T.BF16, _T.BF16),
    Mix("Q8_0", 7, _T.Q8_0, _T.Q8_0),
    Mix("Q6_K", 18, _T.Q6_K, _T.Q6_K),
    Mix(
        "Q5_K_M",
        17,
        _T.Q5_K,
        _T.Q6_K,
        (
            (_V, _sensitive_values(_T.Q6_K)),
            (_QKV, _always(_T.Q6_K)),
            (_DOWN, _sensitive_blocks(_T.Q6_K)),
        ),
    ),
    Mix("Q5_K_S", 16, _T.Q5_K, _T.Q6_K),
    Mix("Q5_1", 9, _T.Q5_1, _T.Q6_K),
    Mix("Q5_0", 8, _T.Q5_0, _T.Q6_K),
    Mix(
        "Q4_K_M",
        15,
        _T.Q4_K,
        _T.Q6_K,
        (
            (_V, _sensitive_values(_T.Q6_K)),
            (_QKV, _always(_T.Q5_K)),
            (_DOWN, _sensitive_blocks(_T.Q6_K)),
        ),
    ),
    Mix(
        "Q4_K_S",
        14,
        _T.Q4_K,
        _T.Q6_K,
        ((_V, _values(4, _T.Q5_K)), (_DOWN, _first(8, _T.Q5_K))),
    ),
    Mix("Q4_1", 3, _T.Q4_1, _T.Q6_K),
    Mix("Q4_0", 2, _T.Q4_0, _T.Q6_K),
    # The rule for attn_v asks for four or more query heads per key head: all sizes have them.
    Mix("IQ4_NL", 25, _T.IQ4_NL, _T.Q6_K, ((_V, _always(_T.Q5_K)), (_DOWN, _first(8, _T.Q5_K)))),
    Mix("IQ4_XS", 30, _T.IQ4_XS, _T.Q6_K, ((_V, _always(_T.Q5_K)), (_DOWN, _first(8, _T.Q5_K)))),
    Mix(
        "Q3_K_L",
        13,
        _T.Q3_K,
        _T.Q6_K,
        (
            (_V, _always(_T.Q5_K)),
            (_O, _always(_T.Q5_K)),
            (_QKV, _always(_T.Q4_K)),
            (_DOWN, _always(_T.Q5_K)),
        ),
    ),
    Mix(
        "Q3_K_M",
        12,
        _T.Q3_K,
        _T.Q6_K,
        (
            (_V, _values(2, _T.Q5_K, _T.Q4_K)),
            (_O, _always(_T.Q4_K)),
            (_QKV, _always(_T.Q4_K)),
            (_DOWN, _first(16, _T.Q5_K, _T.Q4_K)),
        ),
    ),
    Mix("Q3_K_S", 11, _T.Q3_K, _T.Q6_K),
    Mix(
        "Q2_K",
        10,
        _T.Q2_K,
        _T.Q6_K,
        ((_V, _always(_T.Q4_K)), (_O, _always(_T.Q3_K)), (_DOWN, _always(_T.Q3_K))),
    ),
    # No tool makes dense files of it; the head is what the one for experts uses.
    Mix("MXFP4", 38, _T.MXFP4, _T.Q8_0),
)

_ALIASES: Final = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}


def find_mix(name: str) -> Mix:
    """The quantisation of that name, in any case; Q4_K means Q4_K_M, as in llama.cpp.

    Raises:
        ParameterError: there is none; the names are listed.
    """
    wanted = _ALIASES.get(name.upper(), name.upper())
    for mix in MIXES:
        if mix.name == wanted:
            return mix
    names = ", ".join(mix.name for mix in MIXES)
    raise ParameterError(f"there is no weight type '{name}'; choose one of {names}.")
