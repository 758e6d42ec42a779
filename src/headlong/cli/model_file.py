"""The model that a command was given: a file, or one to download first."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from headlong.progress import Progress

__all__ = ["FILE_HELP", "local_file"]

_HUB: Final = "hf:"

FILE_HELP: Final = "GGUF file (of a split model, any part), or hf:user/repo[:QUANT]."


def local_file(name: Path | str, progress: Progress) -> Path:
    """The file on this machine; downloads it where the name begins with ``hf:``.

    Raises `DownloadError` or `ParameterError`; `KeyboardInterrupt` keeps what has come.
    """
    text = str(name)
    if not text.startswith(_HUB):
        return Path(text)
    from headlong.tools.hub import Hub, Reference, fetch

    wanted = Reference.parse(text)
    try:
        return fetch(wanted, Hub.from_environment(), progress)
    except KeyboardInterrupt:
        progress.note("stopped; the same command goes on from here")
        raise
