import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.speculation.calibration import Calibration
from headlong.speculation.drafter import Guess
from headlong.speculation.stopping import Allowance, Course, thresholds


def test_a_step_pays_where_its_tokens_exceed_its_price() -> None:
    # After one guess: one more promises 0.5 S; two more promise 0.5 S + 0.25 S for 0.2 + 0.05.
    assert thresholds([0.9, 0.5, 0.5], [0.1, 0.2, 0.05]) == pytest.approx((0.25 / 0.75, 0.05 / 0.5))


def test_steps_that_only_pay_together_are_taken_together() -> None:
    # Rows in fours: the fifth costs a step, the next three nothing.
    dear_then_free = thresholds([0.9] * 5, [0.0, 0.9, 0.0, 0.0, 0.0])
    assert dear_then_free[0] == pytest.approx(0.9 / (0.9 + 0.81 + 0.729 + 0.6561))
    assert dear_then_free[1:] == (0.0, 0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0, 5)), min_size=1, max_size=15))
def test_thresholds_rise_with_prices(pairs: list[tuple[float, float]]) -> None:
    rates, prices = [r for r, _ in pairs], [p for _, p in pairs]
    least = thresholds(rates, prices)
    assert len(least) == len(pairs) - 1
    assert all(math.isfinite(one) and one >= 0 for one in least)
    dearer = thresholds(rates, [price + 0.1 for price in prices])
    assert all(a < b for a, b in zip(least, dearer, strict=True))


def drafted(course: Course, probabilities: list[float]) -> int:
    """Guesses made, of as many as are given at most."""
    for count, probability in enumerate(probabilities[:-1], 1):
        if not course(Guess(7, probability)):
            return count
    return len(probabilities)


def telling() -> Calibration:
    """0.9 and more is always right, less is wrong."""
    calibration = Calibration()
    for _ in range(200):
        calibration.record(0.99, 0.7, True)
        calibration.record(0.2, 0.7, False)
    return calibration


def test_a_draft_follows_its_own_guesses() -> None:
    rates = [0.7] * 6
    allowance = Allowance(3, 6, 0, rates, thresholds(rates, [0.3] * 6))
    assert drafted(Course(allowance, telling()), [0.99] * 6) == 6
    assert drafted(Course(allowance, telling()), [0.2] * 6) == 1
    assert drafted(Course(allowance, telling()), [0.99, 0.99, 0.2, 0.99, 0.99, 0.99]) == 3
    # Without a meaning of the probabilities, the average survival decides: 0.7, 0.49, 0.343.
    assert drafted(Course(allowance, Calibration()), [0.2] * 6) == 3


def test_what_is_forced_is_drafted() -> None:
    rates = [0.7] * 6
    allowance = Allowance(3, 6, 4, rates, thresholds(rates, [0.3] * 6))
    assert drafted(Course(allowance, telling()), [0.2] * 6) == 4
