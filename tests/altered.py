"""GGUF files that differ from another in chosen keys and tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headlong.gguf import GGUFFile, GGUFWriter, open_gguf

Value = bool | int | float | str | list[int] | list[bool]


def alter(
    source: Path,
    target: Path,
    *,
    keys: Mapping[str, Value] | None = None,
    tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
    without: Collection[str] = (),
    copies: Mapping[str, str] | None = None,
) -> Path:
    """Write `source` to `target` with other values.

    keys: values to set. tensors: to set, in F32. without: names of keys and tensors to leave out.
    copies: tensors to add, each with the bytes of another.
    """
    keys, tensors, copies = keys or {}, tensors or {}, copies or {}
    with open_gguf(source) as file:
        writer = GGUFWriter(target)
        writer.copy_metadata(file.metadata, leave_out={*keys, *without})
        for key, value in keys.items():
            _add(writer, key, value)
        for name in file.tensors:
            if name not in tensors and name not in without:
                _copy(writer, file, name, name)
        for name, values in tensors.items():
            writer.add_tensor(name, np.asarray(values, np.float32))
        for name, original in copies.items():
            _copy(writer, file, original, name)
        writer.write()
    return target


def _copy(writer: GGUFWriter, file: GGUFFile, original: str, name: str) -> None:
    info = file.tensors[original]
    writer.add_tensor(name, file.data(original), info.type, info.shape)


def _add(writer: GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_int64(key, value)
    elif isinstance(value, float):
        writer.add_float64(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif all(isinstance(item, bool) for item in value):
        writer.add_bools(key, [bool(item) for item in value])
    else:
        writer.add_ints(key, value)
