"""The flags of loading a model and of speculation, under llama.cpp's names where it has one.

A flag left out is `None` here, so that the defaults stay where they are used; the texts shown as
defaults are compared with those in a test.  Values are checked by the code they go to, and a
refusal is passed on with the flag's name in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.model_file import FILE_HELP, local_file
from headlong.errors import ParameterError, UnsupportedError
from headlong.progress import Progress

if TYPE_CHECKING:
    from headlong.llm import LLM

__all__ = ["ModelFlags", "SpeculationFlags", "flag_named", "llm_flag_named", "load"]

PREFILL_ROWS: Final = 256
"""Prompt rows per pass when not given; the default of `LLM`."""

_MODEL: Final = "Model"
_SPECULATION: Final = "Speculation (never changes the text)"

# Parameters of LLM in whose errors a user must find the flag again.
_LLM_FLAGS: Final = {
    "context": "--ctx-size",
    "threads": "--threads",
    "spec_type": "--spec-type",
    "kv_type": "--cache-type",
    "prefill_rows": "--ubatch-size",
    "instruction set": "--isa",
}


@dataclass(frozen=True, slots=True)
class ModelFlags:
    """Which model, and how it is run."""

    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help=FILE_HELP, show_default=False),
    ] = None
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="The same as FILE.", rich_help_panel=_MODEL),
    ] = None
    ctx_size: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--ctx-size",
            metavar="N",
            help="Context: most tokens of prompt and answer together.",
            show_default="4096, or less if the model was trained for less",
            rich_help_panel=_MODEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "-t",
            "--threads",
            metavar="N",
            help="Threads that compute.",
            show_default="the processors this process may use",
            rich_help_panel=_MODEL,
        ),
    ] = None
    cache_type: Annotated[
        str | None,
        typer.Option(
            "--cache-type",
            metavar="TYPE",
            help="Number format of the KV cache: f16 or q8_0.",
            show_default="f16",
            rich_help_panel=_MODEL,
        ),
    ] = None
    cache_type_k: Annotated[
        str | None,
        typer.Option(
            "-ctk",
            "--cache-type-k",
            metavar="TYPE",
            help="For K; must be the same as for V.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    cache_type_v: Annotated[
        str | None,
        typer.Option(
            "-ctv",
            "--cache-type-v",
            metavar="TYPE",
            help="For V; must be the same as for K.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    ubatch_size: Annotated[
        int | None,
        typer.Option(
            "-ub",
            "--ubatch-size",
            metavar="N",
            help="Prompt tokens per pass.",
            show_default="256",
            rich_help_panel=_MODEL,
        ),
    ] = None
    isa: Annotated[
        str | None,
        typer.Option(
            "--isa",
            metavar="NAME",
            help="Instruction set of the kernels, for comparisons.",
            show_default="the fastest of this machine",
            rich_help_panel=_MODEL,
        ),
    ] = None

    @property
    def path(self) -> Path:
        """The model's file, or ``hf:...``.  Raises `ParameterError` unless it is given once."""
        if self.file is not None and self.model is not None:
            raise ParameterError(
                f"two models are given, '{self.file}' and --model '{self.model}'; give one. "
                "A prompt goes after -p."
            )
        path = self.file if self.file is not None else self.model
        if path is None:
            raise ParameterError("no model is given; name a GGUF file, or use -m FILE.")
        return path

    @property
    def kv_type(self) -> str:
        """Type of K and V, which share one."""
        separate = (self.cache_type_k, self.cache_type_v)
        if separate == (None, None):
            return self.cache_type or "f16"
        default = self.cache_type or "f16"
        k, v = (kind or default for kind in separate)
        if k != v:
            raise ParameterError(
                f"--cache-type-k is '{k}' and --cache-type-v is '{v}', but K and V are stored in "
                f"one type; give --cache-type {k} or --cache-type {v}."
            )
        if self.cache_type is not None and self.cache_type != k:
            raise ParameterError(
                f"--cache-type is '{self.cache_type}', but --cache-type-k and --cache-type-v are "
                f"'{k}'; give one of them."
            )
        return k


@dataclass(frozen=True, slots=True)
class SpeculationFlags:
    """How drafts are made."""

    spec_type: Annotated[
        str | None,
        typer.Option(
            "--spec-type",
            metavar="TYPE",
            help="draft-mtp: draft with the file's MTP head, if it has one; none: do not load it.",
            show_default="draft-mtp",
            rich_help_panel=_SPECULATION,
        ),
    ] = None
    spec_draft_n_max: Annotated[
        str | None,
        typer.Option(
            "--spec-draft-n-max",
            metavar="N|auto",
            help="Draft length, 0 to 15; auto: chosen by measured costs and acceptance.",
            show_default="auto",
            rich_help_panel=_SPECULATION,
        ),
    ] = None

    def check(self) -> None:
        """Raises `ParameterError` for a draft length that nothing would use."""
        if self.spec_type == "none" and self.spec_draft_n_max not in (None, "0"):
            raise ParameterError(
                f"--spec-draft-n-max {self.spec_draft_n_max} drafts with the MTP head, which "
                "--spec-type none leaves out; give one of them."
            )

    @property
    def fixed_length(self) -> int | None:
        """The draft length, if it is a number."""
        text = self.spec_draft_n_max or ""
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def explicit(self) -> str | None:
        """The flag by which drafts were asked for, if one was."""
        if self.spec_draft_n_max not in (None, "0"):
            return f"--spec-draft-n-max {self.spec_draft_n_max}"
        return f"--spec-type {self.spec_type}" if self.spec_type not in (None, "none") else None


def load(
    model: ModelFlags,
    speculation: SpeculationFlags,
    progress: Progress,
    *,
    sequences: int = 1,
    cache_ram: int = 0,
) -> LLM:
    """Load the model; errors name the flag at fault.

    Raises `UnsupportedError` where drafts were asked for and the file has no head; where they were
    not, a note says so.
    """
    from headlong.llm import LLM

    path, kv_type = model.path, model.kv_type
    speculation.check()
    path = local_file(path, progress)
    with llm_flag_named():
        llm = LLM(
            path,
            context=model.ctx_size,
            sequences=sequences,
            threads=model.threads,
            spec_type=_or_default(speculation.spec_type, "draft-mtp"),
            draft_n_max=_or_default(speculation.spec_draft_n_max, "auto"),
            kv_type=kv_type,
            isa=model.isa,
            prefill_rows=PREFILL_ROWS if model.ubatch_size is None else model.ubatch_size,
            cache_ram=cache_ram,
            progress=progress,
        )
    if not llm.has_mtp and speculation.spec_type != "none":
        if speculation.explicit:
            raise UnsupportedError(
                f"{path} has no MTP head to draft with; leave {speculation.explicit} out."
            )
        progress.note(f"{path} has no MTP head: nothing will be drafted")
    return llm


def _or_default(given: str | None, default: str) -> str:
    return default if given is None else given


@contextmanager
def flag_named(flag: str) -> Iterator[None]:
    """Puts the flag in front of a `ParameterError`, which knows only the parameter's name."""
    try:
        yield
    except ParameterError as error:
        raise ParameterError(f"{flag}: {error}") from None


@contextmanager
def llm_flag_named() -> Iterator[None]:
    """The same for `LLM`, whose errors begin with the parameter."""
    try:
        yield
    except ParameterError as error:
        for parameter, flag in _LLM_FLAGS.items():
            if str(error).startswith(parameter):
                raise ParameterError(f"{flag}: {error}") from None
        raise
