from __future__ import annotations

import gc
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import GivenCosts, Rig, generated

from headlong.engine.sequence import FinishReason, Sequence
from headlong.errors import ContextError, HeadlongError, ParameterError
from headlong.ops.batch import PAGE
from headlong.speculation import Auto, Fixed, SpeculationStats
from headlong.speculation.stopping import Course
from tiny import Tiny


def text_of(length: int, start: int = 40) -> list[int]:
    """A prompt; with another start, another prompt."""
    return [40 + (start + 7 * i) % 180 for i in range(length)]


def leading_to(tiny: Tiny, token: int, steps: int) -> int:
    """The token from which the chain leads to another in so many steps."""
    before = {tiny.next_token[t]: t for t in (*tiny.likely, tiny.vocab.end_of_turn)}
    for _ in range(steps):
        token = before[token]
    return token


def plain(tiny: Tiny, prompt: list[int], context: int = 256, **params: object) -> list[int]:
    """What one sequence generates alone and without drafts."""
    rig = Rig.make(tiny.path, draft=Fixed(0), context=context)
    sequence = rig.submit(prompt, **params)
    rig.run()
    return generated(sequence)


# --- Steps


def test_nothing_to_do_is_no_error(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    assert not rig.engine.busy
    assert rig.engine.step() == []
    assert rig.ops.calls == []


def test_a_prompt_is_read_in_chunks_and_its_last_one_gives_the_first_token(chain: Tiny) -> None:
    rig = Rig.make(chain.path, prefill_rows=16)
    sequence = rig.submit(text_of(40), max_tokens=9)
    seen = []
    while sequence.prefilling:
        emission = rig.step()[sequence.id]
        seen.append((sequence.computed, len(emission.tokens), emission.accepted))
    assert seen == [(16, 0, 0), (32, 0, 0), (40, 1, 0)]
    rig.run()
    assert generated(sequence) == plain(chain, text_of(40), max_tokens=9)


def test_of_several_prompts_the_oldest_gets_half_and_the_shortest_the_rest(chain: Tiny) -> None:
    rig = Rig.make(chain.path, prefill_rows=16)
    prompts = [text_of(40, 1), text_of(30, 2), text_of(5, 3)]
    first, second, third = (rig.submit(prompt, max_tokens=3) for prompt in prompts)
    rig.step()
    assert (first.computed, second.computed, third.computed) == (8, 3, 5)
    for _ in range(4):
        rig.step()
    assert (first.computed, second.computed) == (40, 30)


def test_a_long_prompt_does_not_hold_up_those_who_decode(chain: Tiny) -> None:
    rig = Rig.make(chain.path, prefill_rows=4, draft=Fixed(0))
    quick = rig.submit(text_of(3), max_tokens=30)
    rig.step()
    slow = rig.submit(text_of(100, 5), max_tokens=2)
    for done in range(1, 25):
        emissions = rig.step()
        assert len(emissions[quick.id].tokens) == 1
        assert slow.computed == 4 * done


def test_requests_beyond_the_slots_wait_their_turn(chain: Tiny) -> None:
    rig = Rig.make(chain.path, sequences=2)
    prompts = [text_of(5, s) for s in range(7)]
    sequences = [rig.submit(p, max_tokens=5 + 3 * (i % 3)) for i, p in enumerate(prompts)]
    started: list[int] = []
    while rig.engine.busy:
        emissions = rig.step()
        assert len(emissions) <= 2
        started += [s.id for s in sequences if s.id in emissions and s.id not in started]
    assert started == [s.id for s in sequences]
    for i, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True)):
        assert generated(sequence) == plain(chain, prompt, max_tokens=5 + 3 * (i % 3))
    assert rig.idle


def test_equal_prompts_in_one_batch_give_equal_answers(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    twins = [rig.submit(text_of(70), max_tokens=30) for _ in range(3)]
    rig.run()
    expected = plain(chain, text_of(70), max_tokens=30)
    assert [generated(twin) for twin in twins] == [expected] * 3
    assert len({twin.seed for twin in twins}) == 3  # each has drawn its own


@pytest.mark.parametrize("length", [1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 2, 2 * PAGE])
def test_drafts_across_page_borders_change_nothing(chain: Tiny, length: int) -> None:
    expected = plain(chain, text_of(length), max_tokens=20)
    for n in (1, 4, 15):
        rig = Rig.make(chain.path, draft=Fixed(n))
        sequence = rig.submit(text_of(length), max_tokens=20)
        rig.run()
        assert generated(sequence) == expected
        assert sequence.stats.draft_n > 0
        assert rig.idle


# --- Refusals


def test_bad_prompts_are_refused_and_leave_nothing_behind(chain: Tiny) -> None:
    rig = Rig.make(chain.path, context=64)
    vocab = chain.spec.vocab
    with pytest.raises(ParameterError, match="no tokens"):
        rig.submit([])
    for bad in ([5, -1], [vocab], [5, 2**40]):
        with pytest.raises(ParameterError, match=rf"outside 0\.\.{vocab - 1}"):
            rig.submit(bad)
    for length in (64, 65, 1000):
        with pytest.raises(ContextError, match=f"{length} tokens and the context only 64"):
            rig.submit(text_of(length))
    with pytest.raises(ParameterError, match=f"names the token {vocab}"):
        rig.submit([5], logit_bias={vocab: 1.0})
    assert rig.idle


def test_logits_refuse_what_submit_refuses(chain: Tiny) -> None:
    rig = Rig.make(chain.path, context=64, sequences=1)
    with pytest.raises(ParameterError, match="no tokens"):
        rig.engine.logits([])
    with pytest.raises(ContextError, match="64 tokens"):
        rig.engine.logits(text_of(64))
    rig.submit([5], max_tokens=9)
    rig.step()
    with pytest.raises(ContextError, match="slots are taken"):
        rig.engine.logits([5])


def test_logits_do_not_disturb_a_running_sequence(chain: Tiny) -> None:
    rig = Rig.make(chain.path, prefill_rows=3)
    sequence = rig.submit(text_of(20), max_tokens=40)
    expected = plain(chain, text_of(20), max_tokens=40)
    while rig.engine.busy:
        rig.step()
        logits = rig.engine.logits(text_of(11))
        assert logits.shape == (chain.spec.vocab,)
    assert generated(sequence) == expected
    assert rig.idle
    whole = Rig.make(chain.path).engine.logits(text_of(11))
    assert logits.tobytes() == whole.tobytes()


# --- Ends


@pytest.mark.parametrize("n", [0, 1, 3, 15])
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 17])
def test_max_tokens_are_met_exactly(chain: Tiny, n: int, max_tokens: int) -> None:
    rig = Rig.make(chain.path, draft=Fixed(n))
    sequence = rig.submit(text_of(9), max_tokens=max_tokens)
    rig.run()
    assert sequence.finish is FinishReason.LENGTH
    assert generated(sequence) == plain(chain, text_of(9), max_tokens=17)[:max_tokens]
    assert sequence.stats.rounds <= max_tokens - 1
    assert rig.idle


@pytest.mark.parametrize("n", [0, 3, 15])
@pytest.mark.parametrize("room", [1, 2, 3, 16, 17, 40])
def test_the_context_is_filled_to_the_last_position(chain: Tiny, n: int, room: int) -> None:
    context = 2 * PAGE
    rig = Rig.make(chain.path, context=context, sequences=1, draft=Fixed(n))
    sequence = rig.submit(text_of(context - room))
    rig.run()
    assert sequence.finish is FinishReason.LENGTH
    assert len(sequence.tokens) == context
    assert generated(sequence) == plain(chain, text_of(context - room), context=256)[:room]
    assert rig.idle


@pytest.mark.parametrize("n", [0, 1, 2, 5, 15])
def test_an_end_token_ends_the_text(ending: Tiny, n: int) -> None:
    rig = Rig.make(ending.path, draft=Fixed(n))
    prompt = [leading_to(ending, ending.vocab.end_of_turn, 30)]
    sequence = rig.submit(prompt)
    rig.run()
    assert sequence.finish is FinishReason.STOP
    assert sequence.tokens[-1] == ending.vocab.end_of_turn
    assert ending.vocab.end_of_turn not in generated(sequence)[:-1]
    assert generated(sequence) == plain(ending, prompt)


@pytest.mark.parametrize("n", [0, 4])
def test_ignored_and_postponed_ends(ending: Tiny, n: int) -> None:
    """The text goes on, and as it does without drafts."""
    prompt = [leading_to(ending, ending.vocab.end_of_turn, 30)]
    end = len(plain(ending, prompt))
    assert end < 100
    rig = Rig.make(ending.path, draft=Fixed(n))
    ignored = rig.submit(prompt, max_tokens=end + 30, ignore_eos=True)
    late = rig.submit(prompt, max_tokens=end + 30, min_tokens=end + 5)
    rig.run()
    assert ignored.finish is FinishReason.LENGTH
    assert len(generated(late)) >= end + 5
    assert ending.vocab.end_of_turn not in generated(ignored)
    assert ending.vocab.end_of_turn not in generated(late)[: end + 4]
    assert generated(late) == plain(ending, prompt, max_tokens=end + 30, min_tokens=end + 5)


def test_nothing_is_drafted_behind_an_end(ending: Tiny) -> None:
    """Drafts that follow a drafted end would only cost rows."""
    rig = Rig.make(ending.path, draft=Fixed(15))
    sequence = rig.submit([leading_to(ending, ending.vocab.end_of_turn, 30)])
    rig.run()
    last = [c for c in rig.ops.calls if c.name == "delta_net"][-1]
    assert sequence.finish is FinishReason.STOP
    assert last.rows < 16
    # The end was the last draft and right, so the token after it was dropped.
    assert len(generated(sequence)) == sequence.stats.rounds + sequence.stats.draft_n_accepted


# --- Statistics


@pytest.mark.parametrize("n", [0, 1, 3, 8])
def test_every_token_comes_from_a_round_or_a_draft(chain: Tiny, n: int) -> None:
    rig = Rig.make(chain.path, draft=Fixed(n))
    lengths = (1, 2, 40)
    sequences = [rig.submit(text_of(5, s), max_tokens=s) for s in lengths]
    emitted = dict.fromkeys((s.id for s in sequences), 0)
    accepted = dict.fromkeys((s.id for s in sequences), 0)
    while rig.engine.busy:
        for emission in rig.engine.step():
            emitted[emission.sequence.id] += len(emission.tokens)
            accepted[emission.sequence.id] += emission.accepted
    total = SpeculationStats()
    for sequence, length in zip(sequences, lengths, strict=True):
        stats = sequence.stats
        # The prompt's pass gives the first token, every round one and what it accepts.
        assert length == 1 + stats.rounds + stats.draft_n_accepted
        assert emitted[sequence.id] == length
        assert accepted[sequence.id] == stats.draft_n_accepted
        assert stats.draft_n <= n * stats.rounds
        assert (stats.draft_seconds > 0) == (stats.draft_n > 0)
        assert (stats.verify_seconds > 0) == (stats.rounds > 0)
        total.add(stats)
    assert total.rounds == rig.engine.totals.rounds
    assert total.draft_n_by_depth == rig.engine.totals.draft_n_by_depth
    assert total.accepted_by_depth == rig.engine.totals.accepted_by_depth
    assert total.verify_seconds == pytest.approx(rig.engine.totals.verify_seconds)
    assert total.draft_seconds == pytest.approx(rig.engine.totals.draft_seconds)


def test_requests_draft_as_many_as_each_allows(chain: Tiny) -> None:
    rig = Rig.make(chain.path, draft=Fixed(4))
    caps: list[int | None] = [0, 1, 3, None]
    sequences = [
        rig.submit(text_of(6, i), max_tokens=40, draft_n_max=cap) for i, cap in enumerate(caps)
    ]
    rig.run()
    deepest = [len(s.stats.draft_n_by_depth) for s in sequences]
    assert deepest == [0, 1, 3, 4]
    for i, sequence in enumerate(sequences):
        assert generated(sequence) == plain(chain, text_of(6, i), max_tokens=40)


def test_a_request_that_never_drafts_costs_the_head_nothing(chain: Tiny) -> None:
    rig = Rig.make(chain.path, draft=Fixed(4))
    sequence = rig.submit(text_of(150), max_tokens=20, draft_n_max=0)
    rig.run()
    assert len(generated(sequence)) == 20
    assert not any(c.cache is rig.cache.mtp_kv for c in rig.ops.calls if c.cache is not None)
    assert sequence.track.rows == []


# --- Draft lengths chosen


def test_nobody_drafts_for_a_few_while_many_read(chain: Tiny) -> None:
    """A draft is worth the time that its tokens will take once all of them decode."""
    rig = Rig.make(
        chain.path, draft=Auto(), costs=GivenCosts(row=0.4, draft=0.2), context=512, prefill_rows=16
    )
    first = rig.submit(text_of(3), max_tokens=200)
    for _ in range(60):
        rig.step()
    drafted = first.stats.draft_n
    assert drafted > 0
    for start in range(3):
        rig.submit(text_of(200, 50 + start), max_tokens=2)
    for _ in range(5):
        rig.step()
    before = first.stats.draft_n
    for _ in range(10):
        rig.step()
    assert first.stats.draft_n == before


def test_a_machine_on_which_drafts_cannot_pay_drafts_hardly_at_all(chain: Tiny) -> None:
    rig = Rig.make(chain.path, draft=Auto(), costs=GivenCosts(row=1.0, draft=0.5))
    sequence = rig.submit(text_of(6), max_tokens=200)
    rig.run()
    assert generated(sequence) == plain(chain, text_of(6), max_tokens=200)
    assert sequence.stats.draft_n < 0.02 * sequence.stats.rounds


@pytest.mark.parametrize("seed", range(3))
def test_drafts_that_end_anywhere_change_nothing(
    chain: Tiny, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(Course, "__call__", lambda self, guess: rng.random() < 0.7)
    prompts = [[40 + seed], [50, 51, 52], list(range(60, 130))]
    texts, drafted = [], set()
    for draft in (Fixed(0), Auto()):
        rig = Rig.make(chain.path, draft=draft, costs=GivenCosts(row=0.01, draft=0.01))
        sequences = [
            rig.submit(p, max_tokens=60, temperature=0.7, seed=seed, ignore_eos=True)
            for p in prompts
        ]
        before = [0] * len(sequences)
        while rig.engine.busy:
            rig.step()
            now = [s.stats.draft_n for s in sequences]
            drafted.update(a - b for a, b in zip(now, before, strict=True))
            before = now
        texts.append([generated(s) for s in sequences])
        assert rig.idle
    assert texts[0] == texts[1]
    assert len(drafted) > 3


def test_a_machine_on_which_drafts_are_free_drafts_many(chain: Tiny) -> None:
    rig = Rig.make(chain.path, draft=Auto(), costs=GivenCosts(row=0.01, draft=0.01))
    sequence = rig.submit(text_of(6), max_tokens=200)
    rig.run()
    assert generated(sequence) == plain(chain, text_of(6), max_tokens=200)
    assert sequence.stats.tokens_per_round is not None
    assert sequence.stats.tokens_per_round > 2


# --- Cancelling


def test_cancelled_while_waiting_reading_and_decoding(chain: Tiny) -> None:
    rig = Rig.make(chain.path, sequences=2, prefill_rows=8)
    stays = rig.submit(text_of(12), max_tokens=60)
    reading = rig.submit(text_of(100, 1))
    waiting = rig.submit(text_of(5, 2))
    rig.engine.cancel(waiting)
    rig.step()
    rig.step()
    assert 0 < reading.computed < 100
    rig.engine.cancel(reading)
    decoding = rig.submit(text_of(3, 4))
    while len(generated(decoding)) < 10:
        rig.step()
    rig.engine.cancel(decoding)
    after = rig.submit(text_of(30, 9), max_tokens=20)  # in the slot and pages of those before
    rig.run()
    for sequence in (reading, waiting, decoding):
        assert sequence.finish is FinishReason.CANCELLED
        rig.engine.cancel(sequence)  # harmless
    rig.engine.cancel(stays)
    assert stays.finish is FinishReason.LENGTH
    assert generated(stays) == plain(chain, text_of(12), max_tokens=60)
    assert generated(after) == plain(chain, text_of(30, 9), max_tokens=20)
    assert rig.idle


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 120), st.integers(1, 40)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("step"), st.integers(1, 6), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=ACTIONS, prefill_rows=st.sampled_from([5, 64]))
def test_whatever_ends_a_sequence_its_slot_and_pages_come_back(
    ending: Tiny, actions: list[tuple[str, int, int]], prefill_rows: int
) -> None:
    rig = Rig.make(ending.path, context=128, sequences=3, prefill_rows=prefill_rows)
    sequences: list[Sequence] = []
    for action, number, tokens in actions:
        if action == "submit":
            sequences.append(rig.submit(text_of(number, tokens), max_tokens=tokens))
        elif action == "cancel" and sequences:
            rig.engine.cancel(sequences[number % len(sequences)])
        elif action == "step":
            for _ in range(number):
                rig.step()
        held = sum(s.lease is not None for s in sequences)
        assert rig.cache.free_slots == rig.slots - held
    rig.run()
    assert rig.idle
    for sequence in sequences:
        assert sequence.finish is not None
        if sequence.finish is not FinishReason.CANCELLED:
            assert len(generated(sequence)) >= 1


# --- Failures


def test_a_model_that_computes_nan_fails_that_sequence_alone(poisoned: Tiny) -> None:
    rig = Rig.make(poisoned.path, sequences=2)
    clean = {"max_tokens": 40, "logit_bias": {poisoned.likely[0]: False}}
    healthy = rig.submit(text_of(20), **clean)
    bad = rig.submit([50, poisoned.likely[0], 51])
    next_one = rig.submit(text_of(20), **clean)  # follows in the slot and pages of `bad`
    rig.run()
    assert bad.finish is FinishReason.FAILED
    assert generated(bad) == []
    assert "NaN" in str(bad.error)
    assert healthy.error is None
    assert generated(healthy) == generated(next_one) == plain(poisoned, text_of(20), **clean)
    assert rig.idle


@pytest.mark.parametrize("n", [0, 1, 3, 15])
def test_tokens_before_a_failure_are_those_of_plain_decoding(poisoned: Tiny, n: int) -> None:
    """The chain leads into the token that computes NaN; it is generated, and nothing after it."""
    bad = poisoned.likely[0]
    start = leading_to(poisoned, bad, 6)
    rig = Rig.make(poisoned.path, draft=Fixed(n))
    sequence = rig.submit([start], max_tokens=40)
    rig.run()
    assert sequence.finish is FinishReason.FAILED
    assert generated(sequence)[-1] == bad
    reference = Rig.make(poisoned.path, draft=Fixed(0))
    expected = reference.submit([start], max_tokens=40)
    reference.run()
    assert generated(sequence) == generated(expected)
    assert rig.idle


def test_what_a_broken_head_computes_is_never_in_the_text(broken_head: Tiny) -> None:
    expected = plain(broken_head, text_of(9), max_tokens=30)
    rig = Rig.make(broken_head.path, draft=Fixed(3))
    sequence = rig.submit(text_of(9), max_tokens=30)
    rig.run()
    assert generated(sequence) == expected
    assert sequence.stats.draft_n > 0
    assert sequence.stats.draft_n_accepted == 0


def test_drafting_where_every_draftable_token_is_banned(chain: Tiny) -> None:
    """The trimmed head has only banned tokens to offer; the text is made of the others."""
    bans = dict.fromkeys(range(64), False)
    params = {"max_tokens": 20, "logit_bias": bans}
    rig = Rig.make(chain.path, draft=Fixed(2), leading_rows=64)
    sequence = rig.submit([10, 11, 12], **params)
    rig.run()
    assert sequence.error is None
    assert generated(sequence) == plain(chain, [10, 11, 12], **params)


def test_bans_that_leave_no_token_fail_the_request_with_their_name(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    bans = dict.fromkeys(range(chain.spec.vocab), False)
    sequence = rig.submit([50], logit_bias=bans)
    other = rig.submit([50], max_tokens=5)
    rig.run()
    assert sequence.finish is FinishReason.FAILED
    assert isinstance(sequence.error, HeadlongError)
    assert "logit_bias" in str(sequence.error)
    assert generated(other) == plain(chain, [50], max_tokens=5)
    assert rig.idle


@pytest.mark.parametrize("operation", ["embed", "delta_net", "attend", "ffn"])
@pytest.mark.parametrize("calls", [3, 25])
def test_a_step_that_broke_off_can_be_reset(chain: Tiny, operation: str, calls: int) -> None:
    rig = Rig.make(chain.path, sequences=2)
    sequences = [rig.submit(text_of(70, i), max_tokens=30) for i in range(3)]
    left = calls

    def interrupt(name: str) -> None:
        nonlocal left
        left -= name == operation
        if left < 0:
            raise KeyboardInterrupt

    rig.ops.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.run()
    rig.ops.before = lambda name: None
    rig.engine.reset()
    assert rig.idle
    assert all(s.finish is FinishReason.CANCELLED for s in sequences)
    again = rig.submit(text_of(70), max_tokens=30)
    rig.engine.cancel(sequences[0])  # harmless: it holds nothing any more
    rig.run()
    assert generated(again) == plain(chain, text_of(70), max_tokens=30)
    assert rig.idle


def test_waiting_rows_do_not_keep_whole_passes_in_memory(chain: Tiny) -> None:
    rig = Rig.make(chain.path, context=512)
    sequence = rig.submit(text_of(200), max_tokens=300)
    rig.step()
    gc.collect()
    assert sequence.track.rows
    for row in sequence.track.rows:
        assert isinstance(row, np.ndarray)
        assert row.base is None
