"""Which files of a repository are the model that was asked for.

Quantisations are told by file name: nothing else says which they are before a download.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headlong.errors import DownloadError
from headlong.tools.hub.reference import Reference

__all__ = ["PREFERRED", "Model", "choose", "models_among"]

PREFERRED: Final = ("Q4_K_M", "Q8_0")
"""Quantisations taken when none is named, the first that is there; llama.cpp's order."""

_QUANT: Final = re.compile(r"(?:I?Q|TQ|B?F|MXFP|NVFP)\d", re.ASCII | re.IGNORECASE)
_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})$", re.ASCII)

# GGUF files that are no whole models: vision encoders, heads without a trunk, calibration data.
_BESIDES: Final = ("mmproj", "mtp-", "imatrix")

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Model:
    """A whole model: one file, or all parts of a split one in order."""

    stem: str  # path without the number of the part and without .gguf
    files: tuple[str, ...]

    @property
    def names_head(self) -> bool:
        """Whether the name says that there is an MTP head."""
        return _names(self.stem, "MTP")

    def has_quant(self, quant: str) -> bool:
        """Whether the name holds the quantisation, as a word of its own."""
        return _names(self.stem, quant)


def models_among(files: Iterable[str]) -> tuple[Model, ...]:
    """The models that files are, by name; parts of an incomplete split are none.

    Raises nothing: what is no model is left out.
    """
    whole: dict[str, Model] = {}
    split: dict[tuple[str, int], dict[int, str]] = {}
    for file in sorted(files):
        name = file.rpartition("/")[2].lower()
        if not name.endswith(".gguf") or name.startswith(_BESIDES) or "-mmproj" in name:
            continue
        stem = file[: -len(".gguf")]
        part = _PART.search(stem)
        if part is None:
            whole[stem] = Model(stem, (file,))
        else:
            key = (stem[: part.start()], int(part[2]))
            split.setdefault(key, {})[int(part[1])] = file
    for (stem, count), parts in split.items():
        if sorted(parts) == list(range(1, count + 1)):
            whole.setdefault(stem, Model(stem, tuple(parts[n] for n in sorted(parts))))
    return tuple(whole[stem] for stem in sorted(whole))


def choose(wanted: Reference, files: Sequence[str]) -> Model:
    """The model that is meant, among the files of its repository.

    Of several that suit, one whose name tells of an MTP head wins.

    Raises:
        DownloadError: none suits, or more than one; lists what there is.
    """
    models = models_among(files)
    if wanted.file is not None:
        return _by_file(wanted, wanted.file, models, files)
    if not models:
        raise DownloadError(
            f"{wanted}: the repository holds no GGUF model{_list(files, 'its files')}. "
            "Look for one whose name ends with GGUF."
        )
    if wanted.quant is not None:
        found = [model for model in models if model.has_quant(wanted.quant)]
        if not found:
            raise DownloadError(
                f"{wanted}: no file is of quantisation '{wanted.quant}'{_choices(wanted, models)}."
            )
        return _one(wanted, found)
    for quant in PREFERRED:
        found = [model for model in models if model.has_quant(quant)]
        if found:
            return _one(wanted, found)
    return _one(wanted, models)


def _by_file(wanted: Reference, file: str, models: Sequence[Model], files: Sequence[str]) -> Model:
    for model in models:
        if file in model.files:
            return model
    if file in files:
        stem = file.removesuffix(".gguf")
        if _PART.search(stem):
            raise DownloadError(f"{wanted}: other parts of it are missing in the repository.")
        return Model(stem, (file,))
    raise DownloadError(f"{wanted}: there is no such file{_choices(wanted, models)}.")


def _one(wanted: Reference, found: Sequence[Model]) -> Model:
    with_head = [model for model in found if model.names_head]
    if 0 < len(with_head) < len(found):
        found = with_head
    if len(found) > 1:
        raise DownloadError(
            f"{wanted}: more than one file could be meant{_choices(wanted, found)}."
        )
    return found[0]


def _choices(wanted: Reference, models: Sequence[Model]) -> str:
    names = [f"hf:{wanted.repository}/{model.files[0]}" for model in models]
    return _list(names, "there are") if names else "; it holds no GGUF model"


def _list(names: Sequence[str], words: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; {words}: {', '.join(names[:_SHOWN])}{more}"


def _names(stem: str, word: str) -> bool:
    """Whether a word stands in a path between separators; Q4_K is no word of Q4_K_M."""
    # Only a whole quantisation may follow an underscore: XS is no word of IQ4_XS.
    before = "[-._/]" if _QUANT.match(word) else "[-./]"
    pattern = rf"(?:^|{before}){re.escape(word)}(?=$|[-./])"
    return re.search(pattern, stem, re.IGNORECASE) is not None
