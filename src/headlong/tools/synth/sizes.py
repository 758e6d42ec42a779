"""The dimensions of the published dense models that a rehearsal file can take the shape of."""

from dataclasses import dataclass
from typing import Final

from headlong.errors import ParameterError
from headlong.gguf.names import BlockShapes

__all__ = ["SIZES", "Size", "find_size"]


@dataclass(frozen=True, slots=True)
class Size:
    """Everything that determines the names and shapes of a model's tensors."""

    name: str
    shapes: BlockShapes
    layers: int  # of the trunk; one MTP block follows
    tied: bool  # the LM head is the embedding table
    full_attention_interval: int = 4
    rotary: int = 64  # leading dimensions of an attention head that are rotated
    context: int = 262144

    @property
    def recurrent(self) -> tuple[bool, ...]:
        """For each trunk layer whether it is a delta net (else full attention)."""
        return tuple((i + 1) % self.full_attention_interval != 0 for i in range(self.layers))


def _published(
    name: str,
    hidden: int,
    layers: int,
    heads: tuple[int, int],
    value_heads: int,
    ffn: int,
    *,
    tied: bool,
) -> Size:
    """A published size; what all of them share stands here. `heads`: of queries, of keys."""
    shapes = BlockShapes(
        vocab=248320,
        hidden=hidden,
        ffn=ffn,
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=256,
        key_heads=16,
        value_heads=value_heads,
        state=128,
        taps=4,
    )
    return Size(name, shapes, layers, tied)


SIZES: Final[tuple[Size, ...]] = (
    _published("Qwen3.5-0.8B", 1024, 24, (8, 2), 16, 3584, tied=True),
    _published("Qwen3.5-2B", 2048, 24, (8, 2), 16, 6144, tied=True),
    _published("Qwen3.5-4B", 2560, 32, (16, 4), 32, 9216, tied=True),
    _published("Qwen3.5-9B", 4096, 32, (16, 4), 32, 12288, tied=False),
    _published("Qwen3.5-27B", 5120, 64, (24, 4), 48, 17408, tied=False),
    _published("Qwen3.6-27B", 5120, 64, (24, 4), 48, 17408, tied=False),
)


def find_size(name: str) -> Size:
    """The published size of that name, in any case.

    Raises:
        ParameterError: there is none; the names are listed.
    """
    for size in SIZES:
        if size.name.lower() == name.lower():
            return size
    names = ", ".join(size.name.lower() for size in SIZES)
    raise ParameterError(f"there is no size '{name}' to rehearse; choose one of {names}.")
