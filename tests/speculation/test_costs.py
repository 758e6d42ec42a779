import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import HeadlongError
from headlong.speculation import CostTable
from headlong.speculation.costs import ContextCost

SECONDS = st.floats(1e-6, 100)
SAMPLES = st.lists(st.tuples(st.integers(1, 64), SECONDS, st.integers(0, 5000)), max_size=60)


def table_of(samples: list[tuple[int, float, int]]) -> CostTable:
    table = CostTable()
    for rows, seconds, context in samples:
        table.observe_pass(rows, seconds, context)
    return table


@given(SAMPLES, st.integers(0, 10_000))
def test_costs_are_positive_and_never_fall_with_rows(
    samples: list[tuple[int, float, int]], context: int
) -> None:
    table = table_of(samples)
    costs = [table.pass_seconds(rows, context) for rows in range(1, 100)]
    assert all(math.isfinite(c) and c > 0 for c in costs)
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(costs))
    assert table.pass_seconds(4, context) <= table.pass_seconds(4, context + 100)


@given(SAMPLES, st.lists(SECONDS, min_size=1, max_size=20))
def test_drafting_is_positive_and_grows(
    samples: list[tuple[int, float, int]], drafts: list[float]
) -> None:
    table = table_of(samples)
    for count in range(len(drafts) + 1):
        if count:
            table.observe_draft(drafts[count - 1], drafts[:count])
        costs = [table.draft_seconds(n) for n in range(16)]
        assert costs[0] == 0
        assert all(0 < a < b for a, b in pairwise(costs[1:]))


def test_clean_samples_come_back() -> None:
    table = table_of([(1, 1.0, 0), (2, 1.1, 0), (4, 1.5, 0), (8, 3.5, 0)] * 6)
    expected = {1: 1.0, 2: 1.1, 3: 1.3, 4: 1.5, 6: 2.5, 8: 3.5, 10: 4.5, 16: 7.5}
    for rows, seconds in expected.items():
        assert table.pass_seconds(rows) == pytest.approx(seconds)
    assert table.measured_rows == (1, 2, 4, 8)


def test_fewer_rows_than_measured() -> None:
    table = table_of([(4, 2.0, 0), (8, 3.0, 0)])
    assert table.pass_seconds(2) == pytest.approx(1.5)
    steep = table_of([(4, 2.0, 0), (8, 8.0, 0)])
    assert steep.pass_seconds(1) == pytest.approx(0.5)  # its share of a pass of four


def test_before_anything_is_known() -> None:
    table = CostTable()
    assert table.measured_rows == ()
    assert not table.first_draft_measured
    assert not table.draft_step_measured
    assert table.pass_seconds(1) == 1.0
    assert table.pass_seconds(2) == pytest.approx(1.05)
    assert table.draft_seconds(2) == pytest.approx(0.30)
    table.observe_pass(4, 2.3)
    assert table.pass_seconds(4) == pytest.approx(2.3)
    assert table.pass_seconds(1) == pytest.approx(2.0)
    table.observe_draft(0.7)
    assert table.first_draft_measured
    assert not table.draft_step_measured
    assert table.draft_seconds(3) == pytest.approx(2.1)
    table.observe_draft(0.7, (0.1, 0.1))
    assert table.draft_step_measured
    assert table.draft_seconds(3) == pytest.approx(0.9)


def test_one_slow_sample_among_the_first_is_nothing() -> None:
    for slow in range(4):
        table = CostTable()
        for i in range(4):
            table.observe_pass(1, 50.0 if i == slow else 1.0)
        assert table.pass_seconds(1) == pytest.approx(1.0)


def test_one_slow_sample_later_moves_a_few_percent() -> None:
    table = table_of([(1, 1.0, 0)] * 10)
    table.observe_pass(1, 1000.0)
    assert 1.0 < table.pass_seconds(1) < 1.03
    table.observe_draft(0.1, (0.05,))
    for _ in range(6):
        table.observe_draft(0.1, (0.05,))
    table.observe_draft(30.0, (20.0,))
    assert table.draft_seconds(2) == pytest.approx(0.15, rel=0.04)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_lasting_change_is_followed(factor: float) -> None:
    table = table_of([(1, 1.0, 0), (4, 1.2, 0)] * 8)
    for _ in range(60):
        table.observe_pass(1, factor)
        table.observe_pass(4, 1.2 * factor)
    assert table.pass_seconds(1) == pytest.approx(factor, rel=0.03)
    assert table.pass_seconds(4) == pytest.approx(1.2 * factor, rel=0.03)


def test_row_counts_not_in_use_keep_up_with_the_machine() -> None:
    table = table_of([(1, 1.0, 0), (4, 1.2, 0)] * 8)
    for _ in range(100):
        table.observe_pass(4, 2.4)
    assert 1.3 < table.pass_seconds(1) < 1.7  # most of the way
    for _ in range(100):
        table.observe_pass(4, 1.2)
    assert table.pass_seconds(1) == pytest.approx(1.0, rel=0.02)  # and all of it back


@pytest.mark.parametrize("seed", range(5))
def test_noise_averages_out(seed: int) -> None:
    rng = random.Random(seed)
    table = CostTable()
    truth = {1: 1.0, 2: 1.02, 4: 1.1, 8: 1.6}
    for _ in range(100):
        for rows, seconds in truth.items():
            noise = rng.lognormvariate(0, 0.08) * (4 if rng.random() < 0.03 else 1)
            table.observe_pass(rows, seconds * noise)
    for rows, seconds in truth.items():
        assert table.pass_seconds(rows) == pytest.approx(seconds, rel=0.08)


def test_learns_what_context_costs() -> None:
    rng = random.Random(4)
    table = CostTable()
    slope = 1e-4
    for context in range(0, 3000, 2):
        rows = rng.choice((1, 3, 4))
        seconds = 1 + 0.05 * rows + slope * context
        table.observe_pass(rows, seconds * rng.lognormvariate(0, 0.03), context)
    assert table.seconds_per_position == pytest.approx(slope, rel=0.2)
    for rows, context in [(1, 0), (4, 0), (1, 3000), (3, 1500), (4, 6000)]:
        exact = 1 + 0.05 * rows + slope * context
        assert table.pass_seconds(rows, context) == pytest.approx(exact, rel=0.08)


def test_noise_is_not_taken_for_a_cost_of_context() -> None:
    found = 0
    for seed in range(40):
        rng = random.Random(seed)
        table = CostTable()
        for context in range(150):
            table.observe_pass(rng.choice((1, 5)), rng.lognormvariate(0, 0.1), context)
        found += table.seconds_per_position > 0
        assert table.seconds_per_position * 150 < 0.1
    assert found <= 5  # two standard errors: one in forty by chance


def test_the_slope_behind_the_last_point_is_not_that_between_neighbours() -> None:
    table = table_of([(1, 1.0, 0), (4, 1.3, 0), (8, 1.7, 0), (9, 2.0, 0)])
    assert table.pass_seconds(19) == pytest.approx(2.0 + 10 * (2.0 - 1.3) / (9 - 4))


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_duration(seconds: float) -> None:
    table = CostTable()
    with pytest.raises(HeadlongError, match="seconds"):
        table.observe_pass(1, seconds)
    with pytest.raises(HeadlongError, match="seconds"):
        table.observe_draft(seconds)
    with pytest.raises(HeadlongError, match="seconds"):
        table.observe_draft(1.0, (seconds,))
    assert table.measured_rows == ()
    assert not table.first_draft_measured


def test_a_pass_has_rows() -> None:
    with pytest.raises(HeadlongError, match="0 rows"):
        CostTable().observe_pass(0, 1.0)


def test_what_context_costs_may_be_known_beforehand() -> None:
    context = ContextCost(row=1e-4, further_row=2e-5, draft=3e-6)
    table = CostTable(context)
    for _ in range(6):
        for rows in (1, 2, 4, 8):
            table.observe_pass(rows, 1 + 0.1 * rows + 100 * (1e-4 + 2e-5 * (rows - 1)), 100)
        table.observe_draft(0.2 + 3e-4, (0.1 + 3e-4,), 100)
    assert table.pass_seconds(4, 0) == pytest.approx(1.4)
    assert table.pass_seconds(4, 5000) == pytest.approx(1.4 + 0.5 + 0.3)
    assert table.draft_seconds(3, 1000) == pytest.approx(0.4 + 0.009)
    # Two sequences of 2,500 positions, two rows each: every row reads its own half.
    assert table.pass_seconds(4, 5000, 2) == pytest.approx(1.4 + 0.5 + 0.1)


def test_a_table_comes_back_from_its_record() -> None:
    table = CostTable(ContextCost(1e-4, 1e-5, 1e-6))
    for rows, seconds in ((1, 1.0), (4, 1.2), (8, 1.5)):
        for _ in range(8):
            table.observe_pass(rows, seconds, 50)
    table.observe_draft(0.2, (0.1,))
    table.observe_sampling(2, 0.02)
    table.observe_overhead(0.05)
    record = table.record().checked()
    found = CostTable.of(record)
    assert record.lessons == 24
    for rows in range(1, 12):
        for context in (0, 50, 4000):
            assert found.pass_seconds(rows, context) == table.pass_seconds(rows, context)
    assert found.draft_seconds(5, 99) == table.draft_seconds(5, 99)
    assert found.round_overhead == table.round_overhead
    assert found.record() == record
    # It goes on learning where the other stopped.
    for _ in range(100):
        found.observe_pass(4, 2.4, 50)
    assert found.pass_seconds(4, 50) == pytest.approx(2.4 + 4 * 0.01, rel=0.03)
    assert found.lessons == 124


def test_a_machine_that_is_slower_as_a_whole() -> None:
    table = table_of([(1, 1.0, 0), (8, 2.0, 0)] * 6)
    table.observe_draft(0.2, (0.1,))
    before = [table.pass_seconds(n) for n in range(1, 9)] + [table.draft_seconds(3)]
    table.scale(3.0)
    after = [table.pass_seconds(n) for n in range(1, 9)] + [table.draft_seconds(3)]
    assert after == pytest.approx([3 * seconds for seconds in before])


def test_drafts_for_several_sequences_teach_what_one_costs() -> None:
    table = CostTable()
    for rows, seconds in ((1, 1.0), (2, 1.1), (4, 1.5), (8, 3.0)):
        table.observe_pass(rows, seconds)
    assert table.draft_width(0) == table.draft_width(1) == 1.0
    assert table.draft_width(8) == pytest.approx(3.0)
    table.observe_draft(0.3, (0.15, 0.1), sequences=8, active=(4, 1))
    assert table.first_draft_seconds() == pytest.approx(0.1)
    assert table.draft_step_seconds() == pytest.approx(0.1)
