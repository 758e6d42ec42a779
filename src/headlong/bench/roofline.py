"""How fast a model can be at most where memory is the limit, from its GGUF file.

A decode step without drafts reads every trunk weight once, of experts those used, and writes next
to nothing: tokens per second are at most bandwidth by these bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headlong.gguf import GGUFFile, TensorInfo, open_gguf
from headlong.gguf.names import EMBEDDING, OUTPUT

__all__ = ["GgufFacts", "read_gguf"]

_BLOCK: Final = re.compile(r"blk\.(\d+)\.")
_HASHED: Final = 1 << 24
"""Bytes from the beginning that go into the fingerprint: header, tensor map, first weights."""


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a record says of a model file.

    Args:
        file: its name without folders.
        bytes: of all parts.
        fingerprint: SHA-256 of size and first 16 MiB; files of 20 GB are not read as a whole.
        architecture: as the metadata say.
        name: as the metadata say.
        types: bytes of tensors by their type, largest first.
        quantisation: the type of most bytes of the blocks' matrices, embeddings left out.
        mtp_layers: blocks of the MTP head whose tensors are there.
        mtp_types: types of the head's matrices, largest first.
        step_bytes: weights read for one token without drafts.
        synthetic: made-up weights, for measuring speed only.
    """

    file: str
    bytes: int
    fingerprint: str
    architecture: str | None
    name: str | None
    types: tuple[tuple[str, int], ...]
    quantisation: str
    mtp_layers: int
    mtp_types: tuple[str, ...]
    step_bytes: int
    synthetic: bool

    def roofline(self, gb_per_second: float) -> float:
        """Tokens per second of plain decoding when `gb_per_second` is all that memory gives."""
        return gb_per_second * 1e9 / self.step_bytes


def read_gguf(path: Path) -> GgufFacts:
    """Describe a file without loading it.

    Raises:
        GGUFError: it cannot be opened or is damaged.
        ModelError: a count in its metadata is out of any sensible range.
    """
    with open_gguf(path) as file:
        return _facts(file)


def _facts(file: GGUFFile) -> GgufFacts:
    meta = file.metadata
    architecture = meta.get("general.architecture", str, None)
    blocks = heads = experts = used = 0
    if architecture is not None:
        blocks = meta.get(f"{architecture}.block_count", int, 0, minimum=0, maximum=1 << 16)
        heads = meta.get(f"{architecture}.nextn_predict_layers", int, 0, minimum=0, maximum=64)
        experts = meta.get(f"{architecture}.expert_count", int, 0, minimum=0, maximum=1 << 16)
        used = meta.get(f"{architecture}.expert_used_count", int, 0, minimum=0, maximum=1 << 16)
    head_blocks = range(blocks - heads, blocks) if heads else range(0)
    types: Counter[str] = Counter()
    block_types: Counter[str] = Counter()
    mtp_types: Counter[str] = Counter()
    present = set()
    step = 0
    for tensor in file.tensors.values():
        types[tensor.type.name] += tensor.nbytes
        found = _BLOCK.match(tensor.name)
        if found and len(tensor.shape) > 1:
            block_types[tensor.type.name] += tensor.nbytes
        if found and int(found[1]) in head_blocks:
            present.add(int(found[1]))
            if len(tensor.shape) > 1:
                mtp_types[tensor.type.name] += tensor.nbytes
        else:
            step += _moved(tensor, OUTPUT in file.tensors, experts, used)
    return GgufFacts(
        file=file.path.name,
        bytes=file.size,
        fingerprint=_fingerprint(file.paths[0], file.size),
        architecture=architecture,
        name=meta.get("general.name", str, None),
        types=tuple(types.most_common()),
        quantisation=next(iter(block_types.most_common(1)), ("unknown", 0))[0],
        mtp_layers=len(present),
        mtp_types=tuple(name for name, _ in mtp_types.most_common()),
        step_bytes=step,
        synthetic="headlong.synthetic.accept" in meta,
    )


def _moved(tensor: TensorInfo, own_head: bool, experts: int, used: int) -> int:
    """Bytes of a tensor that one token reads."""
    if tensor.name == EMBEDDING and own_head:
        return tensor.nbytes // max(1, tensor.rows)
    if "_exps." in tensor.name and experts:
        return tensor.nbytes * min(used, experts) // experts
    return tensor.nbytes


def _fingerprint(path: Path, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_HASHED))
    return digest.hexdigest()
