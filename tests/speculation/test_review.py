from __future__ import annotations

import pytest

from headlong.speculation import Acceptance, CostTable
from headlong.speculation.review import KEPT_ROUNDS, Reviewer


def table(seconds: float) -> CostTable:
    """Drafting pays: eight rows cost what one costs, and a draft a tenth."""
    costs = CostTable()
    for rows in (1, 8):
        costs.observe_pass(rows, seconds)
    costs.observe_draft(seconds / 10, (seconds / 10,))
    return costs


def worthless() -> Acceptance:
    acceptance = Acceptance()
    for _ in range(200):
        acceptance.record(1, 0)
    return acceptance


def reviewed(reviewer: Reviewer, requests: list[tuple[Acceptance, int]]) -> list[int]:
    """Planned lengths; limits are never below them."""
    allowances = reviewer.review((1,), requests, 0)
    assert all(a.planned <= a.limit for a in allowances)
    assert all(a.limit <= cap for a, (_, cap) in zip(allowances, requests, strict=True))
    return [allowance.planned for allowance in allowances]


@pytest.mark.parametrize(("seconds", "kept"), [(0.0004, KEPT_ROUNDS[0] - 1), (0.04, 0)])
def test_short_rounds_keep_their_lengths_for_a_while(seconds: float, kept: int) -> None:
    reviewer = Reviewer(table(seconds))
    (first,) = reviewed(reviewer, [(Acceptance(), 7)])
    assert first > 1
    # What is known of the sequence changes; a kept length does not.
    later = [reviewed(reviewer, [(worthless(), 7)])[0] for _ in range(KEPT_ROUNDS[0])]
    assert later[:kept] == [first] * kept
    assert all(length <= 1 for length in later[kept:])


def test_kept_lengths_respect_the_caps_of_the_round() -> None:
    reviewer = Reviewer(table(0.0004))
    reviewed(reviewer, [(Acceptance(), 7)])
    assert reviewed(reviewer, [(Acceptance(), 1)]) == [1]
    assert reviewed(reviewer, [(Acceptance(), 0)]) == [0]


def test_other_sequences_are_chosen_for_at_once() -> None:
    reviewer = Reviewer(table(0.0004))
    reviewed(reviewer, [(Acceptance(), 7)])
    assert len(reviewer.review((1, 2), [(Acceptance(), 7), (Acceptance(), 3)], 0)) == 2


def test_only_rounds_that_were_chosen_teach_the_cost_table() -> None:
    reviewer = Reviewer(table(0.0004))
    assert not reviewer.listening  # nothing was ever chosen: plain, or a fixed length
    listening = []
    for _ in range(sum(KEPT_ROUNDS) + 2 * KEPT_ROUNDS[-1]):
        reviewed(reviewer, [(Acceptance(), 7)])
        listening.append(reviewer.listening)
    # Choices are kept for longer and longer.
    chosen = [i for i, heard in enumerate(listening) if heard]
    assert chosen == [0, 4, 12, 28, 44]
    reviewer.review((2,), [(Acceptance(), 7)], 0)
    assert reviewer.listening
