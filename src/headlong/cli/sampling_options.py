"""The flags of sampling and of an answer's length, and the same settings by name for `/set`.

A flag left out is `None` here, so that the defaults stay in `SamplingParams`; the texts shown as
defaults are compared with those in a test.  `SamplingParams` checks the values; a refusal is
passed on with the flag's name in front.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headlong.cli.options import flag_named
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.sampling import SamplingParams

__all__ = ["SETTINGS", "SamplingFlags", "change_setting", "parse_logit_bias"]

_SAMPLING: Final = "Sampling"
_LENGTH: Final = "Length and end of the answer"

_BIAS: Final = re.compile(r"\s*(\d{1,9})\s*([+-].*)")


@dataclass(frozen=True, slots=True)
class Setting:
    """A number among the sampling settings: the field of `SamplingParams` that a flag sets.

    ``none`` is the value that stands for `None`.
    """

    field: str
    kind: type[int] | type[float]
    none: int | None = None


SETTINGS: Final = {
    "predict": Setting("max_tokens", int, none=-1),
    "min-tokens": Setting("min_tokens", int),
    "seed": Setting("seed", int, none=-1),
    "temp": Setting("temperature", float),
    "top-k": Setting("top_k", int),
    "top-p": Setting("top_p", float),
    "min-p": Setting("min_p", float),
    "typical": Setting("typical_p", float),
    "repeat-penalty": Setting("repeat_penalty", float),
    "repeat-last-n": Setting("repeat_last_n", int),
    "presence-penalty": Setting("presence_penalty", float),
    "frequency-penalty": Setting("frequency_penalty", float),
}
"""Settings by flag, without the dashes in front."""


@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """How tokens are picked, and when to stop."""

    predict: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--predict",
            "--max-tokens",
            metavar="N",
            help="Most tokens to generate; -1: until the context is full.",
            show_default="-1",
            rich_help_panel=_LENGTH,
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            "-r",
            "--reverse-prompt",
            metavar="TEXT",
            help="End before this text; may be repeated.",
            rich_help_panel=_LENGTH,
        ),
    ] = None
    ignore_eos: Annotated[
        bool,
        typer.Option(
            "--ignore-eos",
            help="Never pick an end-of-generation token.",
            rich_help_panel=_LENGTH,
        ),
    ] = False
    min_tokens: Annotated[
        int | None,
        typer.Option(
            "--min-tokens",
            metavar="N",
            help="No end-of-generation token before this many tokens.",
            show_default="0",
            rich_help_panel=_LENGTH,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "-s",
            "--seed",
            metavar="N",
            help="The same seed gives the same text; -1: a random one, which is reported.",
            show_default="-1",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    temp: Annotated[
        float | None,
        typer.Option(
            "--temp",
            metavar="X",
            help="Temperature; 0: always the most probable token.",
            show_default="0.8",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="N",
            help="Keep the N most probable tokens; 0: all.",
            show_default="40",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            metavar="X",
            help="Keep the fewest tokens whose probabilities reach this sum; 1: all.",
            show_default="0.95",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p",
            metavar="X",
            help="Keep tokens at least this share as probable as the best; 0: all.",
            show_default="0.05",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    typical: Annotated[
        float | None,
        typer.Option(
            "--typical",
            metavar="X",
            help="Keep the tokens of most typical surprise up to this probability; 1: all.",
            show_default="1.0",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    repeat_penalty: Annotated[
        float | None,
        typer.Option(
            "--repeat-penalty",
            metavar="X",
            help="Make repeated tokens less likely; 1: off.",
            show_default="1.0",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    repeat_last_n: Annotated[
        int | None,
        typer.Option(
            "--repeat-last-n",
            metavar="N",
            help="How many of the last tokens count as repeated; -1: all, 0: none.",
            show_default="64",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    presence_penalty: Annotated[
        float | None,
        typer.Option(
            "--presence-penalty",
            metavar="X",
            help="Subtracted from the logit of every repeated token.",
            show_default="0.0",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        typer.Option(
            "--frequency-penalty",
            metavar="X",
            help="Subtracted once for every time a token was repeated.",
            show_default="0.0",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(
            "--logit-bias",
            metavar="ID(+|-)X",
            help="Add to a token's logit, as 15043+1; 15043-inf bans it.  May be repeated.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None

    def params(self) -> SamplingParams:
        """The settings.  Raises `ParameterError` that names the flag."""
        from headlong.sampling import SamplingParams

        params = SamplingParams(ignore_eos=self.ignore_eos)
        if self.stop:
            with flag_named("--stop"):
                params = replace(params, stop=tuple(self.stop))
        if self.logit_bias:
            with flag_named("--logit-bias"):
                bias = tuple(parse_logit_bias(text) for text in self.logit_bias)
                params = replace(params, logit_bias=bias)
        numbers: dict[str, int | float | None] = {
            "predict": self.predict,
            "min-tokens": self.min_tokens,
            "seed": self.seed,
            "temp": self.temp,
            "top-k": self.top_k,
            "top-p": self.top_p,
            "min-p": self.min_p,
            "typical": self.typical,
            "repeat-penalty": self.repeat_penalty,
            "repeat-last-n": self.repeat_last_n,
            "presence-penalty": self.presence_penalty,
            "frequency-penalty": self.frequency_penalty,
        }
        for name, value in numbers.items():
            if value is not None:
                with flag_named(f"--{name}"):
                    params = _with(params, SETTINGS[name], value)
        return params


def change_setting(params: SamplingParams, name: str, text: str) -> SamplingParams:
    """The settings with one number changed.

    Raises `ParameterError` for text that is no number, or one that the setting refuses.
    """
    setting = SETTINGS[name]
    try:
        value = setting.kind(text)
    except ValueError:
        wanted = "a whole number" if setting.kind is int else "a number"
        raise ParameterError(f"{name}: {text!r} is not {wanted}") from None
    with flag_named(name):
        return _with(params, setting, value)


def parse_logit_bias(text: str) -> tuple[int, float]:
    """``15043+1``, ``15043-0.5`` or ``15043-inf`` as id and bias."""
    found = _BIAS.fullmatch(text)
    try:
        if found is not None:
            return int(found[1]), float(found[2])
    except ValueError:
        pass
    raise ParameterError(
        f"{text!r} is not a token id, a sign and a number, as in 15043+1 or 15043-inf"
    )


def _with(params: SamplingParams, setting: Setting, value: int | float) -> SamplingParams:
    # Any: a field's type is known only by its name here, and SamplingParams checks every value.
    changes: dict[str, Any] = {setting.field: None if value == setting.none else value}
    return replace(params, **changes)
