"""`hf:user/repo`, `hf:user/repo:QUANT`, `hf:user/repo/file.gguf`: which model is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headlong.errors import ParameterError

__all__ = ["PREFIX", "Reference"]

PREFIX: Final = "hf:"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)
_QUANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FORMS: Final = "write hf:user/repo, hf:user/repo:QUANT or hf:user/repo/file.gguf"


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository, and which of its files: by quantisation, by name, or whichever suits."""

    repository: str  # user/repo
    quant: str | None = None
    file: str | None = None  # path inside the repository

    def __str__(self) -> str:
        quant = f":{self.quant}" if self.quant else ""
        file = f"/{self.file}" if self.file else ""
        return f"{PREFIX}{self.repository}{quant}{file}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a text that begins with `PREFIX`.  Raises `ParameterError`."""
        body = text.removeprefix(PREFIX)
        parts = body.split("/")
        if len(parts) < 2:
            raise ParameterError(f"'{text}' names no repository; {_FORMS}.")
        user, repo, *inner = parts
        quant = None
        if not inner:
            repo, colon, quant_text = repo.partition(":")
            quant = quant_text if colon else None
        for name in (user, repo):
            if not _NAME.fullmatch(name) or ".." in name or "--" in name:
                raise ParameterError(f"'{text}': '{name}' is no name of the hub's; {_FORMS}.")
        if quant is not None and not _QUANT.fullmatch(quant):
            raise ParameterError(f"'{text}': '{quant}' names no quantisation; {_FORMS}.")
        file = "/".join(inner) or None
        if file is not None and (
            not file.endswith(".gguf")
            or any(part in ("", ".", "..") for part in inner)
            or not file.isprintable()
            or "\\" in file
        ):
            raise ParameterError(f"'{text}': '{file}' names no GGUF file; {_FORMS}.")
        return cls(f"{user}/{repo}", quant, file)
