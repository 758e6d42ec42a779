"""GGUF bytes put together by hand, so that tests can write what no writer would."""

import struct
from collections.abc import Sequence
from pathlib import Path


def text(value: str | bytes, length: int | None = None) -> bytes:
    """A string; `length` states another length than it has."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if length is None else length) + data


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def u32(name: str, value: int) -> bytes:
    return key(name, 4, struct.pack("<I", value))


def array(name: str, element: int, count: int, data: bytes) -> bytes:
    return key(name, 9, struct.pack("<IQ", element, count) + data)


def tensor(
    name: str | bytes, shape: Sequence[int], kind: int = 0, offset: int = 0, dims: int | None = None
) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(shape) if dims is None else dims)
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )


def gguf_bytes(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: int | bytes = 0,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A file; `data` is the tensor data or its size in zeros."""
    head = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head += b"".join(keys) + b"".join(tensors)
    if tensors:
        head += bytes(-len(head) % alignment)
    return head + (bytes(data) if isinstance(data, int) else data)


def written(folder: Path, content: bytes, name: str = "model.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
