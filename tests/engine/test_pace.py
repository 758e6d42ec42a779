from __future__ import annotations

import pytest

from headlong.engine.pace import LEAST_ROWS, LONE_STEP, SHARED_STEP, Pace


def test_before_the_first_step_only_company_limits_a_chunk() -> None:
    pace = Pace(256)
    assert pace.rows(alone=True) == 256
    assert LEAST_ROWS <= pace.rows(alone=False) < 256


@pytest.mark.parametrize("row_seconds", [1e-6, 0.001, 0.004, 0.1])
def test_steps_last_as_long_as_they_should(row_seconds: float) -> None:
    pace = Pace(256)
    for _ in range(20):
        pace.observe(64, 64 * row_seconds)
    for alone, wanted in ((True, LONE_STEP), (False, SHARED_STEP)):
        rows = pace.rows(alone=alone)
        assert rows % LEAST_ROWS == 0
        assert rows == LEAST_ROWS or rows * row_seconds <= wanted
        assert rows == 256 or (rows + LEAST_ROWS) * row_seconds > wanted


def test_a_small_most_is_kept() -> None:
    pace = Pace(4)
    assert pace.rows(alone=False) == 4
    pace.observe(64, 1.0)
    assert pace.rows(alone=True) == 4


def test_passes_of_few_rows_teach_nothing() -> None:
    pace = Pace(256)
    pace.observe(LEAST_ROWS - 1, 10.0)
    assert pace.rows(alone=True) == 256


def test_a_machine_that_slows_down_gets_smaller_chunks() -> None:
    pace = Pace(256)
    pace.observe(256, 0.256)
    before = pace.rows(alone=False)
    for _ in range(10):
        pace.observe(96, 0.96)
    assert pace.rows(alone=False) < before
