"""Embedding and LM head of a rehearsal file: rows made of codes.

Every embedding is four parts side by side:

    constant   the same for all tokens
    own        the token's own code, random
    follower   the own code of the token that follows
    drafted    the own code of the token that the MTP head is to draft

An LM head of its own needs the own codes only and is noise elsewhere. Codes are random blocks and
are copied as blocks, so a table is made as fast as its random numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headlong.gguf.dequant import dequantise
from headlong.gguf.quant import quantise
from headlong.gguf.types import GGMLType
from headlong.tools.synth.blocks import random_blocks
from headlong.tools.synth.chain import Chain
from headlong.tools.synth.matrices import rows_at_once

__all__ = ["PART", "Codes", "Parts", "embedding_rows", "head_rows", "make_codes"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

PART: Final = 256
"""Parts are whole multiples of this many elements: the longest block of any format."""

_SPREAD: Final = 0.02
"""Scales of code blocks hardly vary: a short code has few, and its length makes the logit."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the parts of an embedding lie. All but the first have the same size."""

    own: int  # first element of each part; the constant part starts at 0
    follower: int
    drafted: int
    code: int  # size of a code

    @classmethod
    def of(cls, hidden: int) -> "Parts":
        """The longest codes that fit; the constant part gets the rest, `PART` at least.

        `hidden` is a multiple of `PART`, and four times as much or more.
        """
        code = (hidden // PART - 1) // 3 * PART
        return cls(hidden - 3 * code, hidden - 2 * code, hidden - code, code)


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of the tokens on a chain, and the constant part."""

    constant: Floats  # [parts.own]
    in_embedding: Bytes  # [length, bytes], in the order of the chain
    in_head: Bytes
    power: float  # mean square of the elements of codes; about 1


def make_codes(
    parts: Parts, chain: Chain, types: tuple[GGMLType, GGMLType], rng: np.random.Generator
) -> Codes:
    """Draw codes in the blocks of the LM head; `types`: of the embedding and of the head."""
    embedding, head = types
    count = len(chain.tokens)
    codes = random_blocks(rng, head, count * parts.code // head.block_size, 1, _SPREAD)
    codes = codes.reshape(count, -1)
    values = dequantise(codes, head, count, parts.code)
    signs = rng.choice(np.array([-1, 1], dtype=np.float32), parts.own)
    return Codes(
        constant=signs * rng.uniform(0.5, 1.5, parts.own).astype(np.float32),
        in_embedding=codes if embedding == head else quantise(values, embedding).reshape(count, -1),
        in_head=codes,
        power=float(np.mean(values**2)),
    )


def embedding_rows(
    type: GGMLType, parts: Parts, chain: Chain, codes: Codes, rng: np.random.Generator
) -> Iterator[Bytes]:
    """The embedding table, in pieces [rows, row bytes]."""
    hidden = parts.drafted + parts.code
    constant = quantise(codes.constant, type)
    at = [type.row_bytes(start) for start in (parts.own, parts.follower, parts.drafted, hidden)]
    for ids in _pieces(len(chain.follower), type, hidden):
        position = chain.position[ids]
        out = np.empty((len(position), at[3]), dtype=np.uint8)
        out[:, : at[0]] = constant
        own = random_blocks(rng, type, len(position) * parts.code // type.block_size, 1, _SPREAD)
        out[:, at[0] : at[1]] = own.reshape(len(position), -1)
        on_chain = np.flatnonzero(position >= 0)
        out[on_chain, at[0] : at[1]] = codes.in_embedding[position[on_chain]]
        out[:, at[1] : at[2]] = codes.in_embedding[chain.follower[ids]]
        out[:, at[2] :] = codes.in_embedding[chain.drafted[ids]]
        yield out


def head_rows(
    type: GGMLType, parts: Parts, chain: Chain, codes: Codes, rng: np.random.Generator
) -> Iterator[Bytes]:
    """An LM head of its own, in pieces [rows, row bytes]."""
    hidden = parts.drafted + parts.code
    own = slice(type.row_bytes(parts.own), type.row_bytes(parts.follower))
    for ids in _pieces(len(chain.follower), type, hidden):
        position = chain.position[ids]
        out = random_blocks(rng, type, len(position) * hidden // type.block_size, 1, _SPREAD)
        out = out.reshape(len(position), -1)
        on_chain = np.flatnonzero(position >= 0)
        out[on_chain, own] = codes.in_head[position[on_chain]]
        yield out


def _pieces(vocab: int, type: GGMLType, hidden: int) -> Iterator[slice]:
    step = rows_at_once(type, hidden)
    for start in range(0, vocab, step):
        yield slice(start, min(start + step, vocab))
