"""From tensors in a file to weights in a backend's form, with progress.

A model's builder asks for matrices and vectors by name and shape; the loader packs each matrix
once, lets go of the pages it came from, and in the end names every tensor that nobody asked for.
"""

from __future__ import annotations

from typing import Generic

import numpy as np
import numpy.typing as npt

from headlong.errors import ModelError
from headlong.gguf.dequant import dequantise
from headlong.gguf.reader import GGUFFile, TensorInfo
from headlong.gguf.types import GGMLType
from headlong.ops.batch import FloatArray
from headlong.ops.protocol import Ops, W
from headlong.progress import Stage


class FileMatrix:
    """Some rows of a matrix in a GGUF file (see `RawMatrix`)."""

    def __init__(
        self, file: GGUFFile, info: TensorInfo, stage: Stage, first_row: int, rows: int
    ) -> None:
        self._file = file
        self._info = info
        self._stage = stage
        self._first_row = first_row
        self._rows = rows
        self._row_bytes = info.type.row_bytes(info.cols)
        self._left = rows

    @property
    def name(self) -> str:
        return self._info.name

    @property
    def type(self) -> GGMLType:
        return self._info.type

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def cols(self) -> int:
        return self._info.cols

    def read(self, first_row: int, rows: int) -> npt.NDArray[np.uint8]:
        start = (self._first_row + first_row) * self._row_bytes
        return self._file.data(self.name)[start : start + rows * self._row_bytes]

    def done(self, rows: int) -> None:
        self._left -= rows
        self._stage.advance(rows * self._row_bytes)
        if self._left == 0:
            self._file.release(self.name)


class Loader(Generic[W]):
    """Reads the tensors of one file into one backend."""

    def __init__(self, file: GGUFFile, ops: Ops[W], stage: Stage) -> None:
        self._file = file
        self._ops = ops
        self._stage = stage
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._file.tensors

    def matrix(self, name: str, rows: int, cols: int) -> W:
        """Pack a matrix of ``rows`` outputs and ``cols`` inputs.

        Raises `ModelError` if it is missing or of another shape.
        """
        info = self._find(name, (cols, rows))
        return self._ops.pack(FileMatrix(self._file, info, self._stage, 0, rows))

    def stacked(self, name: str, rows: tuple[int, ...], cols: int) -> list[W]:
        """Pack a matrix that holds several, one below the other.

        Raises `ModelError` if it is missing or of another shape.
        """
        info = self._find(name, (cols, sum(rows)))
        packed, first = [], 0
        for count in rows:
            part = FileMatrix(self._file, info, self._stage, first, count)
            packed.append(self._ops.pack(part))
            first += count
        return packed

    def vector(self, name: str, *shape: int) -> FloatArray:
        """A small tensor as float32; ``shape`` in numpy order (last dimension contiguous)."""
        info = self._find(name, tuple(reversed(shape)))
        values = dequantise(self._file.data(name), info.type, info.rows, info.cols)
        self._stage.advance(info.nbytes)
        return np.ascontiguousarray(values.reshape(shape))

    def unused(self) -> list[str]:
        """Names of the tensors that were never asked for."""
        return [name for name in self._file.tensors if name not in self._used]

    def _find(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        info = self._file.tensors.get(name)
        if info is None:
            raise ModelError(
                f"{self._file.path}: tensor '{name}' is missing. The file is incomplete; "
                "'headlong inspect' lists what it holds."
            )
        if _trim(info.shape) != _trim(shape):
            raise ModelError(
                f"{self._file.path}: tensor '{name}' has shape {list(info.shape)}, but the "
                f"metadata asks for {list(shape)}."
            )
        self._used.add(name)
        return info


def _trim(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing dimensions of one, which GGUF writers keep or leave out as they like."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
