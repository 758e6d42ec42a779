"""Describe a GGUF file without loading it: what is in it, what it needs, what stands in its way.

The generic part (tensors by type, tokenizer, parts) is filled for any architecture. Sizes, memory
and bytes per step need a known one and are None otherwise. A damaged file raises; a sound file that
is not a whole model is described as far as it goes, with its faults listed in `problems`.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar, overload

from headlong.errors import HeadlongError, ParameterError
from headlong.gguf import (
    DECODABLE,
    GGUFFile,
    Metadata,
    TensorInfo,
    compare_tensors,
    expected_tensors,
    open_gguf,
)
from headlong.gguf.names import Difference, block_prefix
from headlong.models.config import read_config
from headlong.models.rehearsal import Rehearsal, read_rehearsal
from headlong.tokenizer.pretokenizers import find_pre_tokenizer
from headlong.tools.footprint import (
    KNOWN_ARCHITECTURES,
    MemoryNeed,
    ModelSizes,
    StepBytes,
    read_sizes,
)

__all__ = ["Description", "MtpHead", "MtpState", "Tokenizer", "TypeShare", "describe", "to_json"]

T = TypeVar("T", bool, int, float, str)

# Faults listed one by one before the rest are only counted: a head-only file lacks hundreds.
_SHOWN: Final = 8


class MtpState(StrEnum):
    """Whether a file holds a multi-token prediction head."""

    ABSENT = "absent"
    PRESENT = "present"
    INCOMPLETE = "declared but tensors missing"
    UNDECLARED = "tensors present but not declared"


@dataclass(frozen=True, slots=True)
class TypeShare:
    """The tensors of one type."""

    type: str
    tensors: int
    parameters: int
    bytes: int
    share: float  # of the bytes of all tensors described together, 0 to 1


@dataclass(frozen=True, slots=True)
class MtpHead:
    """The multi-token prediction head, or what there is of it."""

    state: MtpState
    layers: int  # as declared by nextn_predict_layers
    tensors: int
    parameters: int
    bytes: int
    types: tuple[TypeShare, ...]
    missing: tuple[str, ...]  # names of required tensors that are not there


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What the file says about its vocabulary; None where a key is missing or of another type."""

    model: str | None
    pre: str | None
    vocabulary: int  # number of tokens
    merges: int
    bos: int | None
    eos: int | None
    chat_template: bool


@dataclass(frozen=True, slots=True)
class Description:
    """Everything `describe` finds. Sizes are in bytes; shares are 0 to 1."""

    path: str
    parts: tuple[str, ...]
    size: int  # of all parts
    gguf_version: int
    name: str | None
    architecture: str | None
    rehearsal: Rehearsal | None  # for made-up weights: what they were made with
    parameters: int  # elements of all tensors
    bits_per_weight: float
    types: tuple[TypeShare, ...]  # largest first
    mtp: MtpHead
    tokenizer: Tokenizer | None
    tied_head: bool | None  # LM head is the embedding; None for unknown architectures
    sizes: ModelSizes | None
    memory: MemoryNeed | None
    step: StepBytes | None
    unexpected: tuple[str, ...]  # tensors that the architecture does not have
    problems: tuple[str, ...]
    """What keeps this program from running the file, or its head, as far as the header shows."""


def describe(path: str | os.PathLike[str], context: int) -> Description:
    """Describe a model file.

    Args:
        path: the file, or any part of a split model.
        context: tokens of one sequence, for memory and bytes per step.

    Raises:
        GGUFError: the file cannot be opened or is damaged.
        ParameterError: `context` is not between 1 and 2^31.
    """
    if not 1 <= context <= 1 << 31:
        raise ParameterError(f"context is {context}, but must be between 1 and {1 << 31} tokens.")
    with open_gguf(path) as file:
        return _Inspection(file, context).describe()


def to_json(description: Description) -> str:
    """The description as indented JSON, with the field names of the dataclasses.

    `sizes` also gets the number of layers of each kind, which readers would have to count.
    """
    fields = asdict(description)
    sizes = description.sizes
    if sizes is not None:
        fields["sizes"] |= {
            "layers": sizes.layers,
            "delta_layers": sizes.delta_layers,
            "attention_layers": sizes.attention_layers,
        }
    return json.dumps(fields, indent=2, ensure_ascii=False)


class _Inspection:
    """One file, and the faults found so far."""

    def __init__(self, file: GGUFFile, context: int) -> None:
        self.file = file
        self.meta: Metadata = file.metadata
        self.context = context
        self.problems: list[str] = []

    def describe(self) -> Description:
        file = self.file
        architecture = self._read("general.architecture", str)
        sizes = self._sizes(architecture)
        difference = self._compare(sizes)
        mtp = self._mtp(architecture, sizes, difference)
        self._find_problems(sizes, difference, mtp)
        runs_mtp = mtp.state is MtpState.PRESENT
        known = sizes is not None
        parameters = sum(info.elements for info in file.tensors.values())
        tensor_bytes = sum(info.nbytes for info in file.tensors.values())
        return Description(
            path=str(file.path),
            parts=tuple(str(part) for part in file.paths),
            size=file.size,
            gguf_version=file.version,
            name=self._read("general.name", str),
            architecture=architecture,
            rehearsal=self._rehearsal(),
            parameters=parameters,
            bits_per_weight=8 * tensor_bytes / parameters if parameters else 0.0,
            types=_by_type(file.tensors.values()),
            mtp=mtp,
            tokenizer=self._tokenizer(),
            tied_head="output.weight" not in file.tensors if known else None,
            sizes=sizes,
            memory=MemoryNeed.of(sizes, file.tensors, self.context, mtp=runs_mtp)
            if sizes
            else None,
            step=StepBytes.of(sizes, file.tensors, self.context, mtp=runs_mtp) if sizes else None,
            unexpected=difference.unexpected if difference else (),
            problems=tuple(self.problems),
        )

    # --- Parts

    def _read(self, key: str, kind: type[T]) -> T | None:
        """An optional value; a wrong type is a problem, not an end."""
        try:
            return self.meta.get(key, kind, None)
        except HeadlongError as error:
            self._note(str(error))
            return None

    def _rehearsal(self) -> Rehearsal | None:
        try:
            return read_rehearsal(self.meta)
        except HeadlongError as error:
            self._note(str(error))
            return None

    def _sizes(self, architecture: str | None) -> ModelSizes | None:
        if architecture not in KNOWN_ARCHITECTURES or not self.file.tensors:
            return None
        try:
            return read_sizes(self.meta, self.file.tensors, architecture)
        except HeadlongError as error:
            self._note(str(error))
            return None

    def _compare(self, sizes: ModelSizes | None) -> Difference | None:
        if sizes is None:
            return None
        listed = expected_tensors(sizes.blocks, sizes.recurrent, sizes.mtp_layers)
        return compare_tensors(listed, self.file.tensors)

    def _mtp(
        self, architecture: str | None, sizes: ModelSizes | None, difference: Difference | None
    ) -> MtpHead:
        tensors = self.file.tensors
        declared = blocks = 0
        if sizes is not None:
            declared, blocks = sizes.mtp_layers, sizes.layers + sizes.mtp_layers
        elif architecture is not None:
            declared = self._read(f"{architecture}.nextn_predict_layers", int) or 0
            blocks = self._read(f"{architecture}.block_count", int) or 0
        missing: tuple[str, ...] = ()
        if not declared:
            marked = {_block(name) for name in tensors if ".nextn." in name}
            head = [info for name, info in tensors.items() if _block(name) in marked - {None}]
            state = MtpState.UNDECLARED if head else MtpState.ABSENT
        else:
            # Not a loop over the declared blocks: their number may be absurd.
            first = blocks - declared
            head = [info for name, info in tensors.items() if first <= _block(name, -1) < blocks]
            projection = f"{block_prefix(max(0, first))}nextn.eh_proj.weight"
            if difference is not None:
                lacking = [one.name for one in difference.missing]
                missing = tuple(name for name in lacking if first <= _block(name, -1) < blocks)
            elif projection not in tensors:
                missing = (projection,)
            state = MtpState.INCOMPLETE if missing else MtpState.PRESENT
        return MtpHead(
            state,
            declared,
            len(head),
            sum(info.elements for info in head),
            sum(info.nbytes for info in head),
            _by_type(head),
            missing,
        )

    def _tokenizer(self) -> Tokenizer | None:
        meta = self.meta
        if not any(key.startswith("tokenizer.ggml.") for key in meta):
            return None

        def count(key: str) -> int:
            return meta.entry(key).count if meta.is_array(key) else 0

        return Tokenizer(
            model=self._read("tokenizer.ggml.model", str),
            pre=self._read("tokenizer.ggml.pre", str),
            vocabulary=count("tokenizer.ggml.tokens"),
            merges=count("tokenizer.ggml.merges"),
            bos=self._read("tokenizer.ggml.bos_token_id", int),
            eos=self._read("tokenizer.ggml.eos_token_id", int),
            chat_template="tokenizer.chat_template" in meta,
        )

    # --- Faults

    def _find_problems(
        self, sizes: ModelSizes | None, difference: Difference | None, mtp: MtpHead
    ) -> None:
        tensors = self.file.tensors
        if not tensors:
            self._note("the file holds no tensors, only metadata")
        self._check(lambda: read_config(self.meta, sizes.blocks.vocab if sizes else 1))
        self._check(lambda: find_pre_tokenizer(self.meta.require("tokenizer.ggml.pre", str)))
        for share in _by_type(info for info in tensors.values() if info.type not in DECODABLE):
            self._note(f"{share.tensors} tensors are of type {share.type}, which cannot be decoded")
        if sizes is None or difference is None:
            return
        trunk = tuple(block_prefix(index) for index in range(sizes.layers))
        if not any(name.startswith(trunk) for name in tensors):
            self._note("the file holds no trunk block: it is an MTP head to go with another file")
            return
        of_trunk = tuple(one for one in difference.missing if one.name not in mtp.missing)
        faults = replace(difference, missing=of_trunk).problems()
        if mtp.missing:
            faults.append(f"the MTP head is declared but lacks {_list(mtp.missing)}")
        if mtp.state is MtpState.UNDECLARED:
            faults.append("the MTP head is there but nextn_predict_layers is not set")
        elif difference.unexpected:
            faults.append(f"the architecture has no tensor {_list(difference.unexpected)}")
        for fault in faults[:_SHOWN]:
            self._note(fault)
        if len(faults) > _SHOWN:
            self._note(f"and {len(faults) - _SHOWN} more faults of this kind")

    def _check(self, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except HeadlongError as error:
            self._note(str(error))

    def _note(self, problem: str) -> None:
        problem = problem.removeprefix(f"{self.file.path}: ")
        if problem not in self.problems:
            self.problems.append(problem)


def _by_type(tensors: Iterable[TensorInfo]) -> tuple[TypeShare, ...]:
    """Group tensors by type, most bytes first."""
    groups: dict[str, list[TensorInfo]] = {}
    for info in tensors:
        groups.setdefault(info.type.name, []).append(info)
    total = sum(info.nbytes for group in groups.values() for info in group)
    shares = []
    for name, group in groups.items():
        size = sum(info.nbytes for info in group)
        elements = sum(info.elements for info in group)
        shares.append(TypeShare(name, len(group), elements, size, size / total))
    return tuple(sorted(shares, key=lambda share: (-share.bytes, share.type)))


@overload
def _block(name: str) -> int | None: ...
@overload
def _block(name: str, default: int) -> int: ...
def _block(name: str, default: int | None = None) -> int | None:
    """The block index in a tensor name such as `blk.12.attn_q.weight`."""
    prefix, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    if prefix != "blk" or not number.isascii() or not number.isdecimal() or len(number) > 6:
        return default
    return int(number)


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
