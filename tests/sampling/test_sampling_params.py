import math
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import ParameterError
from headlong.sampling import MAX_DRAFT, SamplingParams


def test_defaults_are_llama_cpps() -> None:
    p = SamplingParams()
    assert (p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p) == (0.8, 40, 0.95, 0.05, 1.0)
    assert (p.repeat_penalty, p.repeat_last_n) == (1.0, 64)
    assert (p.presence_penalty, p.frequency_penalty) == (0.0, 0.0)
    assert (p.max_tokens, p.seed, p.draft_n_max) == (None, None, None)
    assert (p.logit_bias, p.stop, p.ignore_eos, p.min_tokens) == ((), (), False, 0)
    assert not p.greedy
    assert not p.penalised


REFUSED = [
    ("max_tokens", (0, -1, 1.5, "8", True)),
    ("temperature", (math.nan, math.inf, -math.inf, "1", None, True, 10**400)),
    ("top_k", (1.5, None, "40", False)),
    ("top_p", (-0.01, 1.01, math.nan, None)),
    ("min_p", (-0.01, 1.01, math.nan)),
    ("typical_p", (-0.01, 1.01, math.nan)),
    ("repeat_penalty", (0, -1, 100.5, math.nan, math.inf)),
    ("repeat_last_n", (-2, 0.5, None)),
    ("presence_penalty", (-101, 101, math.nan)),
    ("frequency_penalty", (-101, 101, math.nan)),
    ("logit_bias", (3, "12", {"12": 1}, {-1: 1}, {1.5: 1}, {True: 1}, {1: True}, {1: "ban"})),
    ("logit_bias", ({1: math.nan}, {1: math.inf}, {1: 2e6}, {1: 10**400}, {1: None})),
    ("logit_bias", (((1, 2.0), (1, 3.0)), ((1,),), (7,))),
    ("seed", (-1, 2**64, 1.0, "7", True)),
    ("stop", ("end", ("",), (1,), None)),
    ("ignore_eos", (0, None, "no")),
    ("min_tokens", (-1, None, 1.5)),
    ("draft_n_max", (-1, MAX_DRAFT + 1, 1.0, "auto")),
]


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in REFUSED for value in values]
)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ParameterError, match=field) as caught:
        SamplingParams(**{field: value})
    assert "must" in str(caught.value) or field == "logit_bias"


def test_a_message_says_field_value_and_range() -> None:
    with pytest.raises(ParameterError) as caught:
        SamplingParams(top_p=1.5)
    assert str(caught.value) == "top_p is 1.5; it must be a finite number from 0 to 1"
    with pytest.raises(ParameterError) as caught:
        SamplingParams(draft_n_max=99)
    assert str(caught.value) == (
        "draft_n_max is 99; it must be a whole number from 0 to 15, or None (the engine's setting)"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("stop", "x" * 10_000), ("top_k", "4" * 10_000), ("logit_bias", {9: "b" * 10_000})],
)
def test_a_message_stays_short(field: str, value: object) -> None:
    with pytest.raises(ParameterError) as caught:
        SamplingParams(**{field: value})
    assert len(str(caught.value)) < 200


def test_a_number_too_long_to_write_is_refused_like_any_other() -> None:
    with pytest.raises(ParameterError, match="temperature is a number of thousands of digits"):
        SamplingParams(temperature=10**5000)


def test_min_tokens_cannot_exceed_max_tokens() -> None:
    with pytest.raises(ParameterError, match=r"min_tokens is 9.*max_tokens \(8\)"):
        SamplingParams(min_tokens=9, max_tokens=8)
    assert SamplingParams(min_tokens=8, max_tokens=8).min_tokens == 8


def test_bias_becomes_sorted_pairs_and_survives_replace() -> None:
    p = SamplingParams(logit_bias={7: 1, 3: False, 5: -math.inf})
    assert p.bias_pairs == ((3, -math.inf), (5, -math.inf), (7, 1.0))
    assert replace(p, seed=1).bias_pairs == p.bias_pairs
    assert hash(p) == hash(SamplingParams(logit_bias={5: -math.inf, 3: False, 7: 1.0}))


def test_numbers_of_other_kinds_become_plain() -> None:
    p = SamplingParams(
        temperature=np.float32(0.5), top_k=np.int64(5), top_p=Fraction(1, 2), seed=np.uint64(2**63)
    )
    assert (p.temperature, p.top_k, p.top_p, p.seed) == (0.5, 5, 0.5, 2**63)
    assert [type(x) for x in (p.temperature, p.top_k, p.top_p, p.seed)] == [float, int, float, int]
    assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SamplingParams().top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("params", "penalised"),
    [
        (SamplingParams(repeat_penalty=1.1), True),
        (SamplingParams(presence_penalty=-0.5), True),
        (SamplingParams(frequency_penalty=0.5), True),
        (SamplingParams(repeat_penalty=1.1, repeat_last_n=0), False),
    ],
)
def test_penalised(params: SamplingParams, penalised: bool) -> None:
    assert params.penalised is penalised


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_greedy_is_a_temperature_of_zero_or_less(temperature: float) -> None:
    assert SamplingParams(temperature=temperature).greedy == (temperature <= 0)
