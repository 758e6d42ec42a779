"""Noise that belongs to a position of a request, not to a call.

The noise of a token is a pure function of (seed, position, id): it is the same whether the token
is drawn by plain decoding, while drafting, or while verifying a draft, and whatever was drawn
before. That is what makes speculation unable to change the text (docs/lossless.md).

The generator is counter-based, as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), with the SplitMix64 finaliser as its mixer (Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014; shifts and multipliers are variant 13 of Stafford,
"Better bit mixing", 2011). Additions and multiplications wrap at 64 bits.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["gumbel", "uniform"]

_MASK: Final = 2**64 - 1
# 2**64 divided by the golden ratio, made odd: SplitMix64's increment. Multiples of it spread
# consecutive counters over all 64 bits before the first mix.
_GAMMA: Final = 0x9E3779B97F4A7C15
_MULTIPLY_1: Final = 0xBF58476D1CE4E5B9
_MULTIPLY_2: Final = 0x94D049BB133111EB


def gumbel(seed: int, position: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise, -log(-log(u)), for each token id at one position.

    seed and position count modulo 2**64; ids are 0 or more, of any shape. float64 of that shape,
    within -3.61 .. 36.74. argmax(logits / temperature + noise) over ids is then a draw from
    softmax(logits / temperature) (the Gumbel-max trick).
    """
    noise: npt.NDArray[np.float64] = -np.log(-np.log(uniform(seed, position, ids)))
    return noise


def uniform(seed: int, position: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1), one for each token id at one position."""
    # Two keys, so that the streams of two positions are not one sequence read from two offsets.
    first = _mix(seed + _GAMMA)
    second = _mix(first ^ _mix(position + 2 * _GAMMA))
    words = ids.astype(np.uint64)
    words *= np.uint64(_GAMMA)
    words += np.uint64(second)
    _mix_in_place(words)
    words ^= np.uint64(first)
    _mix_in_place(words)
    # 52 bits and a half: with 53 the greatest value would round to 1, whose noise is infinite.
    words >>= np.uint64(12)
    u = words.astype(np.float64)
    u += 0.5
    u *= 2.0**-52
    return u


def _mix(word: int) -> int:
    """The finaliser: a bijection of 64-bit words in which every input bit moves every output."""
    word &= _MASK
    word = (word ^ (word >> 30)) * _MULTIPLY_1 & _MASK
    word = (word ^ (word >> 27)) * _MULTIPLY_2 & _MASK
    return word ^ (word >> 31)


def _mix_in_place(words: npt.NDArray[np.uint64]) -> None:
    """`_mix` over an array."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(_MULTIPLY_1)
    words ^= words >> np.uint64(27)
    words *= np.uint64(_MULTIPLY_2)
    words ^= words >> np.uint64(31)
