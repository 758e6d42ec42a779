"""Flag groups, and that the defaults shown are the defaults used."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Annotated, get_type_hints

import pytest
import typer

from headlong.cli import options, verify
from headlong.cli.flags import with_flag_groups
from headlong.cli.options import ModelFlags, SpeculationFlags
from headlong.cli.sampling_options import SETTINGS, SamplingFlags
from headlong.llm import DEFAULT_CONTEXT, LLM
from headlong.sampling import SamplingParams
from headlong.tools.verify import make_cases


@dataclass(frozen=True, slots=True)
class Colours:
    red: Annotated[int, typer.Option("--red")] = 1
    blue: Annotated[int, typer.Option("--blue")] = 2


def test_a_group_becomes_flags_and_comes_back_as_one() -> None:
    seen = []

    @with_flag_groups
    def command(colours: Colours, size: Annotated[int, typer.Option("--size")] = 3) -> None:
        """Paint."""
        seen.append((colours, size))

    assert list(inspect.signature(command).parameters) == ["red", "blue", "size"]
    assert command.__doc__ == "Paint."
    command(red=5, blue=2, size=7)
    assert seen == [(Colours(5, 2), 7)]


def test_a_flag_of_two_groups_is_a_mistake_in_the_program() -> None:
    def command(colours: Colours, more: Colours) -> None:
        """Paint."""

    with pytest.raises(AssertionError, match="red"):
        with_flag_groups(command)


def shown_default(group: type, name: str) -> object:
    hint = get_type_hints(group, include_extras=True)[name]
    return hint.__metadata__[0].show_default


def test_shown_defaults_of_sampling_are_those_used() -> None:
    defaults = SamplingParams()
    for flag, setting in SETTINGS.items():
        value = getattr(defaults, setting.field)
        expected = setting.none if value is None else value
        assert shown_default(SamplingFlags, flag.replace("-", "_")) == str(expected)


def test_flags_left_out_are_the_defaults() -> None:
    assert SamplingFlags().params() == SamplingParams()
    assert {field.default for field in fields(ModelFlags)} == {None}


def test_shown_defaults_of_the_model_are_those_used() -> None:
    parameters = inspect.signature(LLM).parameters
    assert shown_default(ModelFlags, "cache_type") == parameters["kv_type"].default
    assert shown_default(ModelFlags, "ubatch_size") == str(parameters["prefill_rows"].default)
    assert str(shown_default(ModelFlags, "ctx_size")).startswith(f"{DEFAULT_CONTEXT},")
    assert shown_default(SpeculationFlags, "spec_type") == parameters["spec_type"].default
    assert shown_default(SpeculationFlags, "spec_draft_n_max") == parameters["draft_n_max"].default
    assert parameters["prefill_rows"].default == options.PREFILL_ROWS


def test_defaults_of_verify_are_those_of_the_check() -> None:
    parameters = inspect.signature(make_cases).parameters
    assert parameters["temperatures"].default == verify._TEMPERATURES
    assert parameters["max_tokens"].default == verify._TOKENS
