import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.speculation.calibration import Calibration

CHANCE = st.floats(0.002, 0.998)
GUESSES = st.lists(st.tuples(st.floats(0, 1), CHANCE, st.booleans()), max_size=80)


def taught(seed: int, chance_of: dict[float, float], rate: float, guesses: int) -> Calibration:
    """Guesses of these probabilities in turn, accepted with these chances; the depth says rate."""
    rng = random.Random(seed)
    calibration = Calibration()
    for _ in range(guesses):
        for probability, chance in chance_of.items():
            calibration.record(probability, rate, rng.random() < chance)
    return calibration


@given(GUESSES, GUESSES, st.floats(0, 1), CHANCE)
def test_rates_stay_probabilities(
    shared: list[tuple[float, float, bool]],
    own: list[tuple[float, float, bool]],
    probability: float,
    rate: float,
) -> None:
    engine = Calibration()
    request = Calibration(engine)
    for calibration, guesses in ((engine, shared), (request, own)):
        for guess in guesses:
            calibration.record(*guess)
        assert 0 < calibration.rate(rate, probability) < 1


def test_before_anything_is_known_the_depth_decides() -> None:
    calibration = Calibration(Calibration())
    for probability in (0.0, 0.4, 1.0):
        assert calibration.rate(0.7, probability) == 0.7


def test_learns_what_a_head_that_is_too_sure_means() -> None:
    calibration = taught(1, {0.99: 0.9, 0.5: 0.2}, rate=0.55, guesses=300)
    assert calibration.rate(0.55, 0.99) == pytest.approx(0.9, abs=0.06)
    assert calibration.rate(0.55, 0.5) == pytest.approx(0.2, abs=0.08)
    # At a depth where less is accepted the same probability promises less.
    assert calibration.rate(0.3, 0.99) < 0.8
    assert calibration.rate(0.55, 0.05) == 0.55  # never seen


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_without_meaning_are_found_to_have_none(seed: int) -> None:
    calibration = taught(seed, {0.99: 0.6, 0.7: 0.6, 0.2: 0.6}, rate=0.6, guesses=400)
    for probability in (0.99, 0.7, 0.2):
        assert calibration.rate(0.6, probability) == pytest.approx(0.6, abs=0.09)


def test_a_request_begins_with_what_the_engine_knows_and_learns_its_own() -> None:
    engine = taught(2, {0.99: 0.95, 0.5: 0.3}, rate=0.6, guesses=300)
    request = Calibration(engine)
    assert request.rate(0.6, 0.99) == engine.rate(0.6, 0.99)
    for _ in range(60):
        request.record(0.99, 0.6, False)
    assert request.rate(0.6, 0.99) < 0.4
    assert request.rate(0.6, 0.5) == engine.rate(0.6, 0.5)
    assert engine.rate(0.6, 0.99) > 0.85
