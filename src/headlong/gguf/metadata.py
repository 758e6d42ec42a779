"""Typed reading of a GGUF file's key-value section.

A loader states what it needs in one line: key, type, bounds, accepted values. Whatever does not
hold raises an error that names the file, the key, what was found and what would be accepted.
Numbers, booleans and strings are decoded when the file is opened; arrays (a vocabulary has a
quarter of a million strings) stay in the mapping until they are asked for.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from headlong.errors import GGUFError, ModelError, UnsupportedError
from headlong.gguf.types import ValueType

__all__ = ["Entry", "Metadata", "Scalar"]

Scalar = bool | int | float | str

T = TypeVar("T", bool, int, float, str)
D = TypeVar("D")

_INTEGERS: Final = frozenset(
    {
        ValueType.UINT8,
        ValueType.INT8,
        ValueType.UINT16,
        ValueType.INT16,
        ValueType.UINT32,
        ValueType.INT32,
        ValueType.UINT64,
        ValueType.INT64,
    }
)
_FLOATS: Final = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})

# Types in the file that satisfy a request. Whole numbers do as floats: a converter may write a
# rope base of 10000 either way.
_ACCEPTED: Final[dict[type, frozenset[ValueType]]] = {
    bool: frozenset({ValueType.BOOL}),
    int: _INTEGERS,
    float: _FLOATS | _INTEGERS,
    str: frozenset({ValueType.STRING}),
}
_WORDS: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
}

_LENGTH: Final = Struct("<Q")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value: where it lies in the file and, unless it is an array, what it is."""

    type: ValueType
    start: int  # bytes [start, stop) of the file hold the value, without its type number
    stop: int
    value: Scalar | None  # None for arrays
    element: ValueType | None = None  # arrays only
    count: int = 0  # arrays only: number of elements


class Metadata:
    """The keys of one file, in file order. Usable until the file is closed."""

    def __init__(self, path: Path, source: mmap, entries: dict[str, Entry]) -> None:
        self.path = path
        self._source = source
        self._entries = entries

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: str) -> Entry:
        """Type, place and (for a scalar) value of a key.

        Raises:
            ModelError: the key is not there.
        """
        found = self._entries.get(key)
        if found is None:
            raise ModelError(
                f"{self.path}: metadata key {key} is missing. "
                "The file was made by an incomplete conversion: convert it again."
            )
        return found

    def is_array(self, key: str) -> bool:
        """Whether the key is there and holds an array."""
        return key in self._entries and self._entries[key].type is ValueType.ARRAY

    # --- Scalars

    def require(
        self,
        key: str,
        kind: type[T],
        *,
        minimum: T | None = None,
        maximum: T | None = None,
        choices: Collection[T] | None = None,
    ) -> T:
        """The value of a key that must be there.

        Args:
            key: full name, e.g. "qwen35.block_count".
            kind: int, float, bool or str. Any integer type of the file satisfies int; any integer
                or (finite) float satisfies float.
            minimum, maximum: inclusive bounds.
            choices: the only values this program can work with.

        Raises:
            ModelError: the key is missing, of another type, or out of bounds.
            UnsupportedError: the value is none of `choices`.
        """
        entry = self.entry(key)
        if entry.value is None or entry.type not in _ACCEPTED[kind]:
            raise self._wrong_type(key, entry, _WORDS[kind])
        value = kind(entry.value)
        self._check_bounds(key, value, minimum, maximum)
        if choices is not None and value not in choices:
            accepted = ", ".join(str(choice) for choice in choices)
            raise UnsupportedError(
                f"{self.path}: metadata key {key} is {value!r}, which is not supported. "
                f"Supported: {accepted}."
            )
        return value

    def get(
        self,
        key: str,
        kind: type[T],
        default: D,
        *,
        minimum: T | None = None,
        maximum: T | None = None,
        choices: Collection[T] | None = None,
    ) -> T | D:
        """As `require`, but `default` (unchecked) where the key is missing."""
        if key not in self._entries:
            return default
        return self.require(key, kind, minimum=minimum, maximum=maximum, choices=choices)

    # --- Arrays

    def ints(
        self,
        key: str,
        *,
        length: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> list[int]:
        """An array of integers of any width.

        Args:
            key: full name.
            length: number of elements that the array must have.
            minimum, maximum: inclusive bounds for every element.

        Raises:
            ModelError: the key is missing, not such an array, of another length, or out of bounds.
        """
        values: list[int] = self._numbers(key, _INTEGERS, "an array of integers", length).tolist()
        if values:
            self._check_bounds(key, min(values), minimum, None)
            self._check_bounds(key, max(values), None, maximum)
        return values

    def floats(self, key: str, *, length: int | None = None) -> list[float]:
        """An array of numbers as floats; values need not be finite (token scores may be -inf).

        Raises:
            ModelError: the key is missing, not such an array, or of another length.
        """
        found = self._numbers(key, _FLOATS | _INTEGERS, "an array of numbers", length)
        values: list[float] = found.astype(np.float64).tolist()
        return values

    def bools(self, key: str, *, length: int | None = None) -> list[bool]:
        """An array of booleans.

        Raises:
            ModelError: the key is missing, not such an array, or of another length.
            GGUFError: an element is neither 0 nor 1.
        """
        found = self._numbers(key, frozenset({ValueType.BOOL}), "an array of booleans", length)
        if found.size and found.max() > 1:
            raise GGUFError(
                f"{self.path}: metadata key {key}: {found.max()} is not a boolean (0 or 1). "
                "The file is corrupt: download or convert it again."
            )
        values: list[bool] = found.astype(np.bool_).tolist()
        return values

    def strings(self, key: str, *, length: int | None = None) -> list[str]:
        """An array of strings.

        Raises:
            ModelError: the key is missing, not such an array, or of another length.
            GGUFError: an element is not UTF-8.
        """
        accepted = frozenset({ValueType.STRING})
        entry = self._array(key, accepted, "an array of strings", length)
        data = self._slice(entry.start, entry.stop)
        unpack = _LENGTH.unpack_from
        values: list[str] = []
        append = values.append
        at = 12  # after element type (4) and count (8)
        try:
            for _ in range(entry.count):
                begin = at + 8
                at = begin + unpack(data, at)[0]
                append(data[begin:at].decode())
        except UnicodeDecodeError as error:
            raise GGUFError(
                f"{self.path}: metadata key {key}: element {len(values)} is not UTF-8 "
                f"({error.reason}). The file is corrupt: download or convert it again."
            ) from None
        return values

    def encoded(self, key: str) -> tuple[ValueType, bytes]:
        """Type and file encoding of a value, for `GGUFWriter.add_encoded`.

        Raises:
            ModelError: the key is missing.
        """
        entry = self.entry(key)
        return entry.type, self._slice(entry.start, entry.stop)

    # --- Checks

    def _array(
        self, key: str, accepted: frozenset[ValueType], wanted: str, length: int | None
    ) -> Entry:
        entry = self.entry(key)
        if entry.element not in accepted:
            raise self._wrong_type(key, entry, wanted)
        if length is not None and entry.count != length:
            raise ModelError(
                f"{self.path}: metadata key {key} has {entry.count} elements, "
                f"but {length} are needed. The file was made by a faulty conversion."
            )
        return entry

    def _numbers(
        self, key: str, accepted: frozenset[ValueType], wanted: str, length: int | None
    ) -> NDArray[Any]:
        entry = self._array(key, accepted, wanted, length)
        assert entry.element is not None
        data = self._slice(entry.start + 12, entry.stop)
        return np.frombuffer(data, dtype=entry.element.struct_code)

    def _slice(self, start: int, stop: int) -> bytes:
        if self._source.closed:
            raise GGUFError(f"{self.path} is closed: read its metadata before closing it.")
        return self._source[start:stop]

    def _wrong_type(self, key: str, entry: Entry, wanted: str) -> ModelError:
        if entry.type is ValueType.ARRAY and entry.element is not None:
            found = f"an array of {entry.count} {entry.element.name}"
        else:
            found = f"{entry.type.name} {entry.value!r:.60}"
        return ModelError(f"{self.path}: metadata key {key} is {found}, but must be {wanted}.")

    def _check_bounds(
        self, key: str, value: Scalar, minimum: Scalar | None, maximum: Scalar | None
    ) -> None:
        if isinstance(value, str) or isinstance(minimum, str) or isinstance(maximum, str):
            return
        if isinstance(value, float) and not np.isfinite(value):
            raise ModelError(f"{self.path}: metadata key {key} is {value}, but must be finite.")
        if minimum is not None and value < minimum:
            raise ModelError(
                f"{self.path}: metadata key {key} is {value}, but must be at least {minimum}."
            )
        if maximum is not None and value > maximum:
            raise ModelError(
                f"{self.path}: metadata key {key} is {value}, but must be at most {maximum}."
            )
