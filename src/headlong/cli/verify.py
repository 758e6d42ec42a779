"""`headlong verify`: the same tokens with speculation as without, on the user's own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.figures import decimals, percent
from headlong.cli.flags import with_flag_groups
from headlong.cli.model_file import local_file
from headlong.cli.options import ModelFlags, SpeculationFlags, flag_named, load
from headlong.cli.progress_bars import progress_on
from headlong.cli.prompt_text import read_prompt
from headlong.cli.terminal import printable
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.llm import LLM
    from headlong.tools.verify import Difference, Outcome, Picked, Variant

__all__ = ["command"]

_TEMPERATURES: Final = (0.0, 0.7, 1.5)
_LENGTHS: Final = ("1", "2", "3", "5", "7", "auto")
_TOKENS: Final = 64

# --quick: under a tenth of the tokens of the whole check.
_QUICK_TEMPERATURES: Final = (0.0, 1.5)
_QUICK_LENGTHS: Final = ("3", "auto")
_QUICK_PROMPTS: Final = 3
_QUICK_TOKENS: Final = 32

_SEQUENCES: Final = 8
_SHOWN: Final = 40


@with_flag_groups
def command(
    model: ModelFlags,
    draft: Annotated[
        list[str] | None,
        typer.Option(
            "--draft",
            metavar="N|auto",
            help="Draft length to check, 1 to 15 or auto; may be repeated.",
            show_default=" ".join(_LENGTHS),
        ),
    ] = None,
    temp: Annotated[
        list[float] | None,
        typer.Option(
            "--temp",
            metavar="X",
            help="Temperature to check; may be repeated.",
            show_default=" ".join(map(str, _TEMPERATURES)),
        ),
    ] = None,
    prompt_file: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--prompt-file",
            metavar="FILE",
            help="A prompt to use instead of the built-in ones; may be repeated.",
        ),
    ] = None,
    predict: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--predict",
            "--max-tokens",
            metavar="N",
            help="Most tokens per answer.",
            show_default=str(_TOKENS),
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("-s", "--seed", metavar="N", help="Seed of the first answer, counted up."),
    ] = 1,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer prompts, temperatures, lengths and tokens, unless given."
        ),
    ] = False,
) -> None:
    """Check that speculation does not change the text.

    Answers made with drafts of several lengths, alone and in batches, are compared token by token
    with answers made without.  Every second prompt is answered with penalties.  Exit code 1 if any
    token differs.
    """
    from headlong.tools.prompts import VERIFY_PROMPTS
    from headlong.tools.verify import Plan, make_cases, require_head, verify

    if prompt_file:
        prompts = tuple(read_prompt(None, path) for path in prompt_file)
    else:
        prompts = VERIFY_PROMPTS[:_QUICK_PROMPTS] if quick else VERIFY_PROMPTS
    temperatures = tuple(temp or (_QUICK_TEMPERATURES if quick else _TEMPERATURES))
    tokens = predict if predict is not None else _QUICK_TOKENS if quick else _TOKENS
    with flag_named("--temp, --predict or --seed"):
        cases = make_cases(prompts, temperatures=temperatures, max_tokens=tokens, seed=seed)
    lengths = draft or (_QUICK_LENGTHS if quick else _LENGTHS)
    with flag_named("--draft"):
        plan = Plan(cases, tuple(dict.fromkeys(_draft_length(text) for text in lengths)))
    progress = progress_on()
    model = replace(model, file=local_file(model.path, progress), model=None)
    require_head(model.path)

    typer.echo(
        f"{len(prompts)} prompts at temperatures {', '.join(map(str, temperatures))}: "
        f"{len(cases)} answers of up to {tokens} tokens, seeds from {seed}"
    )

    def load_with(spec_type: str, draft_n_max: int | str) -> LLM:
        speculation = SpeculationFlags(spec_type, str(draft_n_max))
        return load(model, speculation, progress, sequences=_SEQUENCES)

    same = True
    for outcome in verify(load_with, plan, progress):
        _show(outcome)
        same = same and not outcome.differing
    typer.echo(f"identical: {'yes' if same else 'NO'}")
    if not same:
        raise typer.Exit(1)


def _draft_length(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ParameterError(f"{text!r} is neither 'auto' nor a whole number") from None


def _show(outcome: Outcome) -> None:
    stats = outcome.stats
    verdict = "identical"
    if outcome.differing:
        verdict = f"DIFFERENT in {outcome.differing} of {outcome.answers} answers"
    line = f"  {_name(outcome.variant):<28}{verdict}"
    if stats.draft_n:
        line += (
            f"   {percent(stats.acceptance_rate)} of {stats.draft_n} drafts accepted, "
            f"{decimals(stats.tokens_per_round)} tokens per round"
        )
    typer.echo(line)
    if outcome.first is not None:
        typer.echo(f"    first: {_difference(outcome.first)}")


def _name(variant: Variant) -> str:
    what = {0: "off again", "auto": "auto"}.get(variant.draft, f"n = {variant.draft}")
    if variant.draft == 0 and variant.batched:
        what = "off"
    return f"{what}, batched" if variant.batched else what


def _difference(difference: Difference) -> str:
    case = difference.case
    text = printable(case.prompt).replace("\n", " ")
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    place = (
        f"prompt {case.number} ({shown}), temperature {case.params.temperature:g}, "
        f"seed {case.params.seed}, token {difference.index}: "
        f"{_token(difference.expected)} without speculation, {_token(difference.found)} here"
    )
    if difference.margin is None:
        return place
    return f"{place}; their logits differ by {difference.margin:.3g}"


def _token(picked: Picked) -> str:
    return "the end" if picked.token is None else f"{picked.text!r} (id {picked.token})"
