"""What makes the next token known: the numbers in each tensor of a rehearsal file.

The LM head, also where it is the embedding table, tells tokens apart by their own code (see
`tables`): the final norms scale the other parts down. So the trunk has to bring the follower's code
to the place of the own one, and the FFN of its last layer does. Unit i of its first units reads
element i of `follower - own` and adds it to element i of `own`; their gates read the constant part,
so that they are open to the same degree for every token. In the MTP block, `eh_proj` copies the
drafted code to the place of the own one.

All else is noise at the scale of trained weights. What it adds to the residual stream depends on
the whole context, is smaller than the codes and independent of them, so that it lowers the logit of
the next token a little and leaves it far above the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from headlong.gguf.names import EMBEDDING, OUTPUT, OUTPUT_NORM, block_prefix
from headlong.gguf.types import GGMLType
from headlong.tools.synth.chain import Chain
from headlong.tools.synth.matrices import Band, Patch, diagonal, noise_rows
from headlong.tools.synth.sizes import Size
from headlong.tools.synth.tables import Codes, Parts, embedding_rows, head_rows

__all__ = ["Recipe", "generator"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CERTAINTY: Final = 22.0
"""Logit of the next token, about. Those of the 248320 others have a standard deviation of
`_CERTAINTY` over the root of the code's size, 1.4 or less: the largest comes to about 7, and the
logarithm of their summed exponentials to 13.4, so that text follows the chain also when it is
sampled at temperature 1."""

_TRUNK_MIX: Final = 0.5
"""Size of all trunk layers' contributions together, relative to the embedding."""

_MTP_MIX: Final = 0.3
"""The same for the MTP block, relative to the output of `eh_proj`."""

_QUIET: Final = 0.03
"""Final norm weights outside the own part, relative to those inside."""

_UNIT: Final = 0.5
"""Weight with which a unit of the last FFN reads its element, and with which it is written: a power
of two, which every format holds exactly next to zeros. Gates, sums of many weights, do the rest."""

_ENDINGS_OF_BRANCHES: Final = ("attn_output.weight", "ssm_out.weight", "ffn_down.weight")


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of one tensor's numbers: tensors do not depend on each other or on their order."""
    return np.random.Generator(np.random.SFC64([seed, crc32(name.encode())]))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Makes the data of any tensor; the same arguments give the same bytes."""

    size: Size
    chain: Chain
    parts: Parts
    codes: Codes
    seed: int

    def vector(self, name: str, shape: tuple[int, ...]) -> Floats:
        """Values of a norm, or of the recurrence's parameters; `shape` in GGUF order."""
        rng = generator(self.seed, name)
        count = int(np.prod(shape))
        if name == OUTPUT_NORM:
            scale = self._final_norm(_TRUNK_MIX)
        elif name.endswith("shared_head_norm.weight"):
            scale = self._final_norm(_MTP_MIX)
        elif name.endswith("ssm_conv1d.weight"):
            return rng.standard_normal(count, dtype=np.float32) / np.float32(sqrt(shape[0]))
        elif name.endswith("ssm_a"):
            # Decays per token from nearly 1 (long memory) to nearly 0 (none), head by head.
            return -np.exp(rng.uniform(log(0.02), log(8), count)).astype(np.float32)
        elif name.endswith("ssm_dt.bias"):
            return rng.uniform(-4, 1, count).astype(np.float32)
        elif name.endswith(("attn_q_norm.weight", "attn_k_norm.weight")):
            # 1.4 * 1.4 doubles the scores: attention prefers some positions clearly.
            scale = np.full(count, 1.4, dtype=np.float32)
        else:
            scale = np.ones(count, dtype=np.float32)
        return scale * (1 + np.float32(0.05) * rng.standard_normal(count, dtype=np.float32))

    def matrix(self, name: str, type: GGMLType, rows: int, cols: int) -> Iterator[Bytes]:
        """Encoded rows of a matrix, in pieces [rows, row bytes]."""
        rng = generator(self.seed, name)
        if name == EMBEDDING:
            return embedding_rows(type, self.parts, self.chain, self.codes, rng)
        if name == OUTPUT:
            return head_rows(type, self.parts, self.chain, self.codes, rng)
        std = 1 / sqrt(cols)  # keeps the size of a vector
        last, ending = block_prefix(self.size.layers - 1), name.split(".", 2)[-1]
        bands: tuple[Band, ...] = (Band(rows, std),)
        patches: tuple[Patch, ...] = ()
        if ending == "nextn.eh_proj.weight":
            bands, patches = self._projection(rows, std)
        elif name == f"{last}ffn_gate.weight":
            bands, patches = self._gates(rows, std)
        elif name == f"{last}ffn_up.weight":
            bands, patches = self._readers(rows, std)
        elif ending in _ENDINGS_OF_BRANCHES:
            bands = (Band(rows, std * self._branch_gain(name)),)
            if name == f"{last}ffn_down.weight":
                patches = self._writers()
        return noise_rows(type, cols, bands, patches, rng)

    def _branch_gain(self, name: str) -> float:
        """Gain of a branch's last matrix, so that the branches of all layers sum to the mix."""
        in_mtp = name.startswith(block_prefix(self.size.layers))
        mix = _MTP_MIX if in_mtp else _TRUNK_MIX
        branches = 2 if in_mtp else 2 * self.size.layers
        # Inputs of these matrices have a size of about 0.6; of attention, which averages over
        # values and halves them by its gate, about 0.3.
        size = 0.3 if name.endswith("attn_output.weight") else 0.6
        return mix / (size * sqrt(branches))

    # --- The final norms.

    def _final_norm(self, mix: float) -> Floats:
        # The norm divides by the root of the stream's mean square, (1 + mix^2) * power; the head
        # multiplies `code` elements of that size with elements of the root of `power`.
        loud = _CERTAINTY * sqrt(1 + mix**2) / (self.parts.code * sqrt(self.codes.power))
        scale = np.full(self.size.shapes.hidden, _QUIET * loud, dtype=np.float32)
        scale[self.parts.own : self.parts.follower] = loud
        return scale

    # --- The last FFN of the trunk. Its input is the normed stream: elements of size 1.

    @property
    def _stream(self) -> float:
        """Size of an element of the stream before the norm."""
        return sqrt((1 + _TRUNK_MIX**2) * self.codes.power)

    def _gates(self, rows: int, std: float) -> tuple[tuple[Band, ...], tuple[Patch, ...]]:
        constant, code = self.codes.constant, self.parts.code
        # A unit's output of silu(gate) * _UNIT * x, times _UNIT, is to be stream * x.
        wanted = self._stream / _UNIT**2
        gate = wanted
        for _ in range(30):
            gate = wanted * (1 + exp(-gate))  # solves silu(gate) = gate / (1 + exp(-gate))
        row = constant * np.float32(gate * self._stream / np.sum(constant**2))
        # Noise moves the gates by a quarter.
        bands = (Band(code, 0.25 * std), Band(rows - code, std))
        return bands, (Patch(0, 0, np.tile(row, (code, 1))),)

    def _readers(self, rows: int, std: float) -> tuple[tuple[Band, ...], tuple[Patch, ...]]:
        code = self.parts.code
        bands = (Band(code, 0.1 * _UNIT * std), Band(rows - code, std))
        return bands, (
            *diagonal(0, self.parts.follower, code, _UNIT),
            *diagonal(0, self.parts.own, code, -_UNIT),
        )

    def _writers(self) -> tuple[Patch, ...]:
        return diagonal(self.parts.own, 0, self.parts.code, _UNIT)

    # --- The MTP block's input: columns of the embedding, then of the hidden state.

    def _projection(self, rows: int, std: float) -> tuple[tuple[Band, ...], tuple[Patch, ...]]:
        code, first = self.parts.code, self.parts.own
        # With the embedding and the hidden state, a row reads two vectors of elements of size 1.
        loud, quiet = Band(first, std), Band(code, 0.1 * std)
        bands = (loud, quiet, Band(rows - first - code, std))
        return bands, diagonal(first, self.parts.drafted, code, 1.0)
