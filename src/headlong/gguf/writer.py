"""Write a GGUF version 3 file, whole or not at all.

Values and tensors are collected first; `write` then produces the file beside its final place and
renames it there, so that a full disk or an interrupt never leaves half a model behind. Tensor data
can be given as raw blocks, as numbers to encode, or as a stream that is only drawn while writing,
so that a copy of a large file does not have to fit into memory.
"""

import os
import secrets
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf.metadata import Metadata
from headlong.gguf.quant import quantise
from headlong.gguf.types import GGMLType, ValueType

__all__ = ["DEFAULT_ALIGNMENT", "MAX_DIMS", "MAX_NAME_BYTES", "GGUFWriter"]

DEFAULT_ALIGNMENT: Final = 32
"""Alignment of tensor data where the file does not state one."""

MAX_DIMS: Final = 4
"""Most dimensions of a tensor in ggml."""

MAX_NAME_BYTES: Final = 63
"""Longest tensor name that ggml's own readers accept (64 bytes with the closing zero)."""

Piece = bytes | memoryview | NDArray[Any]

_ZEROS_PER_WRITE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: GGMLType
    nbytes: int
    pieces: Callable[[], Iterable[Piece]]


class GGUFWriter:
    """Collects metadata and tensors, then writes them to `path` in the order they were added.

    >>> writer = GGUFWriter("tiny.gguf")
    >>> writer.add_string("general.architecture", "qwen35")
    >>> writer.add_tensor("output_norm.weight", np.ones(8, np.float32))
    >>> writer.write()
    """

    def __init__(self, path: str | os.PathLike[str], *, alignment: int = DEFAULT_ALIGNMENT) -> None:
        """
        Args:
            path: the file to make; a file already there is replaced by `write`, not before.
            alignment: bytes; a power of two. Written as `general.alignment` unless it is 32.

        Raises:
            GGUFError: `alignment` is not a power of two between 1 and 2^31.
        """
        if not 0 < alignment < 1 << 32 or alignment & (alignment - 1):
            raise GGUFError(f"alignment {alignment} is not a power of two below 2^32.")
        self.path = Path(path)
        self.alignment = alignment
        self._values: dict[str, bytes] = {}
        self._tensors: dict[str, _Tensor] = {}
        if alignment != DEFAULT_ALIGNMENT:
            self._values[_ALIGNMENT_KEY] = struct.pack("<II", ValueType.UINT32, alignment)

    # --- Metadata

    def add(self, key: str, value: bool | int | float | str, type: ValueType) -> None:
        """Add one value.

        Raises:
            GGUFError: the key is there already or cannot be one, or the value does not fit `type`.
        """
        self.add_encoded(key, type, _scalar(key, value, type))

    def add_array(self, key: str, values: Sequence[Any] | NDArray[Any], element: ValueType) -> None:
        """Add an array of values of one type; `element` is not ARRAY.

        Raises:
            GGUFError: as `add`, for any element.
        """
        head = struct.pack("<IQ", element, len(values))
        self.add_encoded(key, ValueType.ARRAY, head + _array(key, values, element))

    def add_encoded(self, key: str, type: ValueType, encoded: bytes) -> None:
        """Add a value in its file encoding (without the type number), as `Metadata.encoded` gives.

        Raises:
            GGUFError: the key is there already or cannot be a key.
        """
        if not key or len(key.encode()) > 65535:
            raise GGUFError(
                f"{self.path}: {key[:40]!r} cannot be a metadata key: 1 to 65535 bytes."
            )
        if key == _ALIGNMENT_KEY:
            raise GGUFError(f"{self.path}: give {key} to GGUFWriter as alignment=, not as a value.")
        if key in self._values:
            raise GGUFError(f"{self.path}: metadata key {key} is added twice.")
        self._values[key] = struct.pack("<I", type) + encoded

    def copy_metadata(self, source: Metadata, *, leave_out: Collection[str] = ()) -> None:
        """Add another file's keys with their values as they are encoded there, in order.

        Keys about the other file's layout (`general.alignment`, `split.*`) are not copied.

        Args:
            source: metadata of an open file.
            leave_out: keys that are not wanted, or will be added with another value.

        Raises:
            GGUFError: a key is there already.
        """
        for key in source:
            if key == _ALIGNMENT_KEY or key.startswith("split.") or key in leave_out:
                continue
            self.add_encoded(key, *source.encoded(key))

    def add_uint8(self, key: str, value: int) -> None:
        """Add an unsigned 8-bit integer; see `add`."""
        self.add(key, value, ValueType.UINT8)

    def add_int8(self, key: str, value: int) -> None:
        """Add a signed 8-bit integer; see `add`."""
        self.add(key, value, ValueType.INT8)

    def add_uint16(self, key: str, value: int) -> None:
        """Add an unsigned 16-bit integer; see `add`."""
        self.add(key, value, ValueType.UINT16)

    def add_int16(self, key: str, value: int) -> None:
        """Add a signed 16-bit integer; see `add`."""
        self.add(key, value, ValueType.INT16)

    def add_uint32(self, key: str, value: int) -> None:
        """Add an unsigned 32-bit integer; see `add`."""
        self.add(key, value, ValueType.UINT32)

    def add_int32(self, key: str, value: int) -> None:
        """Add a signed 32-bit integer; see `add`."""
        self.add(key, value, ValueType.INT32)

    def add_uint64(self, key: str, value: int) -> None:
        """Add an unsigned 64-bit integer; see `add`."""
        self.add(key, value, ValueType.UINT64)

    def add_int64(self, key: str, value: int) -> None:
        """Add a signed 64-bit integer; see `add`."""
        self.add(key, value, ValueType.INT64)

    def add_float32(self, key: str, value: float) -> None:
        """Add a 32-bit float; see `add`."""
        self.add(key, value, ValueType.FLOAT32)

    def add_float64(self, key: str, value: float) -> None:
        """Add a 64-bit float; see `add`."""
        self.add(key, value, ValueType.FLOAT64)

    def add_bool(self, key: str, value: bool) -> None:
        """Add a boolean; see `add`."""
        self.add(key, value, ValueType.BOOL)

    def add_string(self, key: str, value: str) -> None:
        """Add a string; see `add`."""
        self.add(key, value, ValueType.STRING)

    def add_strings(self, key: str, values: Sequence[str]) -> None:
        """Add an array of strings; see `add_array`."""
        self.add_array(key, values, ValueType.STRING)

    def add_ints(
        self, key: str, values: Sequence[int] | NDArray[Any], element: ValueType = ValueType.INT32
    ) -> None:
        """Add an array of integers; see `add_array`."""
        self.add_array(key, values, element)

    def add_floats(
        self,
        key: str,
        values: Sequence[float] | NDArray[Any],
        element: ValueType = ValueType.FLOAT32,
    ) -> None:
        """Add an array of floats; see `add_array`."""
        self.add_array(key, values, element)

    def add_bools(self, key: str, values: Sequence[bool]) -> None:
        """Add an array of booleans; see `add_array`."""
        self.add_array(key, values, ValueType.BOOL)

    # --- Tensors

    def add_tensor(
        self,
        name: str,
        data: NDArray[Any] | bytes | memoryview,
        type: GGMLType = GGMLType.F32,
        shape: Sequence[int] | None = None,
    ) -> None:
        """Add a tensor.

        Args:
            name: 1 to 63 bytes.
            data: a float array [..., cols], encoded as `type` here; or the encoded blocks as bytes,
                memoryview or uint8 array (not copied: keep them unchanged until `write`).
            type: the format in the file.
            shape: in GGUF order, ne0 (cols) first. May be left out for a float array, whose own
                shape reversed is then taken.

        Raises:
            GGUFError: the name is taken or not usable, or shape, type and data do not fit together.
            UnsupportedError: `data` is a float array and there is no encoder for `type`.
        """
        raw: Piece
        if isinstance(data, np.ndarray) and data.dtype != np.uint8:
            if not np.issubdtype(data.dtype, np.floating):
                raise GGUFError(
                    f"tensor {name}: an array of {data.dtype} is neither numbers to encode (float) "
                    "nor encoded blocks (uint8)."
                )
            if shape is None:
                shape = data.shape[::-1]
            cols = shape[0] if shape else 0
            if not cols or prod(shape) != data.size:
                raise GGUFError(
                    f"tensor {name}: {data.size} elements do not make the shape {tuple(shape)}."
                )
            try:
                raw = quantise(data.reshape(-1, cols), type)
            except (GGUFError, UnsupportedError) as error:
                raise error.__class__(f"tensor {name}: {error}") from None
        else:
            raw = data
        if shape is None:
            raise GGUFError(f"tensor {name}: encoded blocks need a shape (ne0 first).")
        size = _nbytes(raw)
        entry = self._new_tensor(name, type, shape, lambda: (raw,))
        if size != entry.nbytes:
            raise GGUFError(
                f"tensor {name}: {size} bytes given, but {type.name} of shape {entry.shape} "
                f"takes {entry.nbytes}."
            )
        self._tensors[name] = entry

    def add_tensor_stream(
        self,
        name: str,
        pieces: Callable[[], Iterable[Piece]],
        type: GGMLType,
        shape: Sequence[int],
    ) -> None:
        """Add a tensor whose encoded blocks are produced while writing, in consecutive pieces.

        Args:
            name, type, shape: as for `add_tensor`.
            pieces: called once by `write`; the pieces together must have exactly the tensor's size.

        Raises:
            GGUFError: the name is taken or not usable, or the shape does not fit the type.
        """
        self._tensors[name] = self._new_tensor(name, type, shape, pieces)

    def _new_tensor(
        self,
        name: str,
        type: GGMLType,
        shape: Sequence[int],
        pieces: Callable[[], Iterable[Piece]],
    ) -> _Tensor:
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise GGUFError(
                f"{self.path}: {name[:80]!r} cannot be a tensor name: "
                f"it must have 1 to {MAX_NAME_BYTES} bytes."
            )
        if name in self._tensors:
            raise GGUFError(f"{self.path}: tensor {name} is added twice.")
        dims = tuple(int(size) for size in shape)
        if not 1 <= len(dims) <= MAX_DIMS or min(dims) < 1:
            raise GGUFError(
                f"tensor {name}: shape {dims} must have 1 to {MAX_DIMS} sizes, each at least 1."
            )
        try:
            row = type.row_bytes(dims[0])
        except GGUFError as error:
            raise GGUFError(f"tensor {name}: {error}") from None
        return _Tensor(name, dims, type, row * prod(dims[1:]), pieces)

    # --- The file

    def write(self) -> int:
        """Write the file and put it in place.

        Returns:
            Size of the file in bytes.

        Raises:
            GGUFError: the file cannot be written (the reason is named), or a stream gave another
                number of bytes than its tensor has. Nothing is left behind then.
        """
        partial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.partial")
        try:
            # "x" fails on an existing name rather than writing through a link planted there.
            with partial.open("xb") as file:
                self._write_to(file)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            partial.replace(self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise GGUFError(
                f"cannot write {self.path}: {error.strerror}. "
                "Check the folder, its permissions and the free space."
            ) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return size

    def _write_to(self, file: BinaryIO) -> None:
        head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(self._tensors), len(self._values)))
        for key, value in self._values.items():
            head += _string(key) + value
        offset = 0
        for tensor in self._tensors.values():
            head += _string(tensor.name)
            head += struct.pack("<I", len(tensor.shape))
            head += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            head += struct.pack("<IQ", tensor.type, offset)
            offset += tensor.nbytes + self._padding(tensor.nbytes)
        file.write(head)
        self._pad(file, len(head))
        for tensor in self._tensors.values():
            written = 0
            for piece in tensor.pieces():
                written += _nbytes(piece)
                if written > tensor.nbytes:
                    break
                file.write(
                    np.ascontiguousarray(piece).data if isinstance(piece, np.ndarray) else piece
                )
            if written != tensor.nbytes:
                raise GGUFError(
                    f"tensor {tensor.name}: its stream gave "
                    f"{'more than' if written > tensor.nbytes else f'{written} of'} "
                    f"{tensor.nbytes} bytes."
                )
            self._pad(file, written)

    def _padding(self, size: int) -> int:
        return -size % self.alignment

    def _pad(self, file: BinaryIO, size: int) -> None:
        missing = self._padding(size)
        while missing:
            step = min(missing, _ZEROS_PER_WRITE)
            file.write(bytes(step))
            missing -= step


_ALIGNMENT_KEY: Final = "general.alignment"


def _nbytes(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.nbytes


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _scalar(key: str, value: bool | int | float | str, type: ValueType) -> bytes:
    if type is ValueType.ARRAY:
        raise GGUFError(f"metadata key {key}: use add_array for arrays.")
    if type is ValueType.STRING:
        if not isinstance(value, str):
            raise GGUFError(f"metadata key {key}: {value!r} is not a string.")
        try:
            return _string(value)
        except UnicodeEncodeError:
            raise GGUFError(f"metadata key {key}: {value!r} cannot be encoded as UTF-8.") from None
    return _array(key, [value], type)


def _array(key: str, values: Sequence[Any] | NDArray[Any], element: ValueType) -> bytes:
    if element is ValueType.ARRAY:
        raise GGUFError(f"metadata key {key}: arrays of arrays are not written.")
    if element is ValueType.STRING:
        return b"".join([_scalar(key, value, element) for value in values])
    wanted = np.dtype(element.struct_code)
    if len(values) and not _fits(values, wanted, element):
        shown = values[0] if len(values) == 1 else f"{type(values).__name__} of {len(values)}"
        raise GGUFError(f"metadata key {key}: {shown} does not fit {element.name}.")
    return np.array(values, dtype=wanted).tobytes()


def _fits(values: Sequence[Any] | NDArray[Any], wanted: np.dtype[Any], element: ValueType) -> bool:
    if isinstance(values, np.ndarray):
        kinds = {values.dtype.type} if values.ndim == 1 else {object}
    else:
        kinds = {type(value) for value in values}
    if element is ValueType.BOOL:
        return all(issubclass(kind, bool | np.bool_) for kind in kinds)
    whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
    if wanted.kind == "f":
        return whole or all(
            issubclass(kind, int | float | np.integer | np.floating) and kind is not bool
            for kind in kinds
        )
    limits = np.iinfo(wanted)
    return whole and int(min(values)) >= limits.min and int(max(values)) <= limits.max
