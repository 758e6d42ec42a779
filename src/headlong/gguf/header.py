"""Parse the header of one GGUF file: metadata entries and tensor descriptions.

The bytes come from anywhere, so nothing in them is believed: every length is held against what is
left of the file before it is used, and every tensor is proven to lie inside it. Whatever is wrong
raises one `GGUFError` that names the file, the place and the way out.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import Struct
from typing import Final

from headlong.errors import GGUFError
from headlong.gguf.metadata import Entry, Scalar
from headlong.gguf.types import FOREIGN_TYPES, GGMLType, ValueType
from headlong.gguf.writer import DEFAULT_ALIGNMENT, MAX_DIMS

__all__ = ["Header", "TensorInfo", "parse_header"]

# Real files stay far below these: 50 keys, 2,000 tensors (100,000 if every expert of a large MoE
# had its own), two arrays of a quarter million strings. A file beyond them is taken for corrupt, or
# hostile, rather than walked through for minutes.
_MAX_KEYS: Final = 1 << 16
_MAX_TENSORS: Final = 1 << 18
_MAX_STRINGS: Final = 1 << 24

# Least bytes of a key (length, one byte, type, one-byte value) and of a tensor (length, one byte,
# number of dimensions, one dimension, type, offset).
_MIN_KEY_BYTES: Final = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES: Final = 8 + 1 + 4 + 8 + 4 + 8

_U32: Final = Struct("<I")
_U64: Final = Struct("<Q")
_SCALARS: Final = {kind: Struct(kind.struct_code) for kind in ValueType if kind.width}

_AGAIN: Final = "The file is corrupt or cut short: download or convert it again."

# First bytes of what people open by mistake.
_NOT_GGUF: Final = {
    b"lmgg": "it is the older GGML format. Convert the original model again",
    b"fmgg": "it is the older GGMF format. Convert the original model again",
    b"tjgg": "it is the older GGJT format. Convert the original model again",
    b"vers": "it may be a Git LFS pointer. Fetch the file itself, with git lfs pull",
    b"<!DO": "it is an HTML page. Download the file itself rather than the page about it",
    b"<htm": "it is an HTML page. Download the file itself rather than the page about it",
    b"PK\x03\x04": "it is a ZIP archive or PyTorch checkpoint. Convert it to GGUF first",
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: what it is called, how it is stored, where it lies."""

    name: str
    shape: tuple[int, ...]  # GGUF order: ne0, the contiguous dimension, first
    type: GGMLType
    offset: int  # bytes from the start of its part's file
    nbytes: int
    part: int = 0  # index into GGUFFile.paths

    @property
    def cols(self) -> int:
        """Elements of one row (ne0)."""
        return self.shape[0]

    @property
    def rows(self) -> int:
        """Number of rows: the product of all other dimensions."""
        return prod(self.shape[1:])

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says about itself."""

    version: int
    alignment: int
    entries: dict[str, Entry]
    tensors: dict[str, TensorInfo]


def parse_header(view: memoryview, path: Path, part: int) -> Header:
    """Parse and check one file.

    Args:
        view: the whole file, uint8.
        path: for messages.
        part: index of the file among the parts of a split model.

    Raises:
        GGUFError: anything that is not a well-formed little-endian GGUF of version 2 or 3.
    """
    return _Parser(view, path, part).parse()


class _Parser:
    def __init__(self, view: memoryview, path: Path, part: int) -> None:
        self.view = view
        self.size = len(view)
        self.path = path
        self.part = part
        self.at = 0
        self.strings = 0  # in all arrays so far

    def parse(self) -> Header:
        version = self._version()
        tensor_count = self._u64("the number of tensors")
        key_count = self._u64("the number of metadata keys")
        self._check_count("tensors", tensor_count, _MIN_TENSOR_BYTES, _MAX_TENSORS)
        self._check_count("metadata keys", key_count, _MIN_KEY_BYTES, _MAX_KEYS)
        entries: dict[str, Entry] = {}
        for index in range(key_count):
            key = self._string(f"metadata key {index}")
            if not key:
                raise self._error(f"metadata key {index} is empty. {_AGAIN}")
            if key in entries:
                raise self._error(f"metadata key {key} is there twice. {_AGAIN}")
            entries[key] = self._entry(key)
        alignment = self._alignment(entries)
        described: list[TensorInfo] = []
        names: set[str] = set()
        for index in range(tensor_count):
            tensor = self._tensor(index, alignment)
            if tensor.name in names:
                raise self._error(f"tensor {tensor.name} is there twice. {_AGAIN}")
            names.add(tensor.name)
            described.append(tensor)
        return Header(version, alignment, entries, self._place(described, alignment))

    # --- Parts of the header, in file order

    def _version(self) -> int:
        magic = bytes(self.view[:4])
        if magic != b"GGUF":
            guess = _NOT_GGUF.get(magic, f"it starts with {magic!r}. Choose a .gguf file")
            raise self._error(f"this is not a GGUF file: {guess}.")
        self.at = 4
        version = self._u32("the version")
        if version and not version & 0xFFFF:
            raise self._error(
                "this GGUF file is big-endian, made for another kind of machine. "
                "Convert it to little-endian."
            )
        if version == 1:
            raise self._error("GGUF version 1 is not read. Convert the model again (version 3).")
        if version not in (2, 3):
            raise self._error(
                f"GGUF version {version} is not known; versions 2 and 3 are read. "
                "The file is corrupt, or newer than this program."
            )
        return version

    def _entry(self, key: str) -> Entry:
        where = f"metadata key {key}"
        kind = self._value_type(where)
        start = self.at
        if kind is ValueType.ARRAY:
            element, count = self._array(where)
            return Entry(kind, start, self.at, None, element, count)
        value: Scalar
        if kind is ValueType.STRING:
            value = self._string(where)
        else:
            self._need(kind.width, where)
            (value,) = _SCALARS[kind].unpack_from(self.view, self.at)
            self.at += kind.width
            if kind is ValueType.BOOL:
                if value not in (0, 1):
                    raise self._error(f"{where}: {value} is not a boolean (0 or 1). {_AGAIN}")
                value = bool(value)
        return Entry(kind, start, self.at, value)

    def _array(self, where: str) -> tuple[ValueType, int]:
        """Check an array and move past it; its element type and count."""
        element = self._value_type(where)
        count = self._u64(where)
        if element is ValueType.ARRAY:
            raise self._error(f"{where} is an array of arrays, which no known model has. {_AGAIN}")
        if element is ValueType.STRING:
            self._check_count(f"strings in {where}", count, 8, _MAX_STRINGS - self.strings)
            self.strings += count
            self._skip_strings(where, count)
        else:
            self._check_count(f"values in {where}", count, element.width, self.size)
            self.at += count * element.width
        return element, count

    def _skip_strings(self, where: str, count: int) -> None:
        # The one loop that runs half a million times for a vocabulary: nothing in it but the
        # length. A length that leads beyond the end makes the next read fail.
        unpack = _U64.unpack_from
        view, at, size = self.view, self.at, self.size
        for index in range(count):
            if at + 8 > size:
                raise self._cut(f"{where}, element {index}")
            at += 8 + unpack(view, at)[0]
        if at > size:
            raise self._cut(where)
        self.at = at

    def _alignment(self, entries: dict[str, Entry]) -> int:
        entry = entries.get("general.alignment")
        if entry is None:
            return DEFAULT_ALIGNMENT
        value = entry.value
        if not isinstance(value, int) or entry.type is ValueType.BOOL:
            raise self._error(f"general.alignment is {entry.type.name}, not an integer. {_AGAIN}")
        if value <= 0 or value & (value - 1) or value >= 1 << 32:
            raise self._error(f"general.alignment is {value}, not a power of two. {_AGAIN}")
        return value

    def _tensor(self, index: int, alignment: int) -> TensorInfo:
        """One description; its offset is still relative to the tensor data."""
        name = self._string(f"the name of tensor {index}")
        if not name:
            raise self._error(f"tensor {index} has an empty name. {_AGAIN}")
        where = f"tensor {name}"
        dims = self._u32(where)
        if not 1 <= dims <= MAX_DIMS:
            raise self._error(f"{where} has {dims} dimensions; 1 to {MAX_DIMS} are known. {_AGAIN}")
        shape = tuple(self._u64(where) for _ in range(dims))
        if min(shape) < 1:
            raise self._error(f"{where} has a dimension of size 0: shape {shape}. {_AGAIN}")
        number = self._u32(where)
        offset = self._u64(where)
        try:
            kind = GGMLType(number)
        except ValueError:
            raise self._error(
                f"{where} has type {number} ({FOREIGN_TYPES.get(number, 'not known')}), which "
                "cannot be read. Use a file with standard ggml quantisation, such as Q4_K_M."
            ) from None
        if shape[0] % kind.block_size:
            raise self._error(
                f"{where}: rows of {shape[0]} elements are not whole {kind.name} blocks of "
                f"{kind.block_size}. {_AGAIN}"
            )
        if offset % alignment:
            raise self._error(
                f"{where} lies at offset {offset}, not a multiple of the alignment {alignment}. "
                f"{_AGAIN}"
            )
        # Python integers do not overflow: a product of absurd sizes is just too large to fit.
        nbytes = kind.row_bytes(shape[0]) * prod(shape[1:])
        return TensorInfo(name, shape, kind, offset, nbytes, self.part)

    def _place(self, tensors: list[TensorInfo], alignment: int) -> dict[str, TensorInfo]:
        """Make offsets absolute and prove that every tensor lies in the file, apart from others."""
        base = self.at + -self.at % alignment
        placed: dict[str, TensorInfo] = {}
        end, last = base, ""
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            start = base + tensor.offset
            if start < end:
                raise self._error(f"tensors {last} and {tensor.name} overlap. {_AGAIN}")
            end, last = start + tensor.nbytes, tensor.name
            if end > self.size:
                raise self._error(
                    f"tensor {tensor.name} ends at byte {end:,}, but the file has "
                    f"{self.size:,} bytes. {_AGAIN}"
                )
        for tensor in tensors:
            placed[tensor.name] = TensorInfo(
                tensor.name,
                tensor.shape,
                tensor.type,
                base + tensor.offset,
                tensor.nbytes,
                tensor.part,
            )
        return placed

    # --- Single values

    def _u32(self, where: str) -> int:
        self._need(4, where)
        (value,) = _U32.unpack_from(self.view, self.at)
        self.at += 4
        return int(value)

    def _u64(self, where: str) -> int:
        self._need(8, where)
        (value,) = _U64.unpack_from(self.view, self.at)
        self.at += 8
        return int(value)

    def _value_type(self, where: str) -> ValueType:
        number = self._u32(where)
        try:
            return ValueType(number)
        except ValueError:
            raise self._error(f"{where} has a value of unknown type {number}. {_AGAIN}") from None

    def _string(self, where: str) -> str:
        length = self._u64(where)
        self._need(length, where)
        data = bytes(self.view[self.at : self.at + length])
        self.at += length
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self._error(f"{where} is not UTF-8 ({error.reason}). {_AGAIN}") from None

    # --- Errors

    def _need(self, count: int, where: str) -> None:
        if self.at + count > self.size:
            raise self._cut(where)

    def _check_count(self, what: str, count: int, least: int, limit: int) -> None:
        """`count` things of at least `least` bytes each must fit into what is left."""
        left = self.size - self.at
        if count * least > left or count > limit:
            raise self._error(f"it claims {count} {what}, with {left} bytes left. {_AGAIN}")

    def _cut(self, where: str) -> GGUFError:
        return self._error(f"the file ends inside {where}. {_AGAIN}")

    def _error(self, message: str) -> GGUFError:
        return GGUFError(f"{self.path}: {message}")
