"""What was read for one request serves others, and nothing of it shows in what they compute."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import Rig, generated

from headlong.engine.sequence import FinishReason, Sequence
from headlong.ops.batch import PAGE
from headlong.sampling import SamplingParams
from headlong.speculation import DraftLength, Fixed
from tiny import Tiny

MIB = 1 << 20
CONTEXT = 512


def text_of(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(40, 220), k=length)


def make(tiny: Tiny, *, retain: int = 8 * MIB, draft: DraftLength | None = None) -> Rig:
    return Rig.make(tiny.path, context=CONTEXT, retain=retain, draft=draft, prefill_rows=64)


def memory(rig: Rig, sequence: Sequence) -> list[bytes]:
    """All bytes that a running sequence's future depends on: keys, values, states, the head's."""
    lease = sequence.lease
    assert lease is not None
    cache = rig.cache
    assert cache.mtp_kv is not None
    head_rows = sequence.track.start
    parts = [
        array[list(lease.pages)].swapaxes(1, 2).reshape(len(lease.pages) * PAGE, -1)[:rows]
        for layers, rows in ((cache.kv, sequence.computed), ([cache.mtp_kv], head_rows))
        for layer in layers
        for array in (layer.k, layer.v)
    ]
    states = [array[lease.slot] for layer in cache.recurrent for array in (layer.s, layer.conv)]
    return [part.tobytes() for part in (*parts, *states, np.array(sequence.track.rows))]


def follow(rig: Rig, prompt: list[int], tokens: int, **params: object) -> tuple[Sequence, bytes]:
    """Run alone until so many tokens have come."""
    sequence = rig.submit(prompt, max_tokens=tokens + 20, **params)
    while sequence.generated < tokens:
        rig.step()
    return sequence, b"".join(memory(rig, sequence))


def finish(rig: Rig, sequence: Sequence) -> list[int]:
    rig.run()
    return generated(sequence)


@pytest.mark.parametrize("kept", [1, 40, PAGE, PAGE + 1, 150, 2 * PAGE - 1])
@pytest.mark.parametrize("draft", [0, 3])
def test_a_hit_leaves_the_same_bytes_as_a_miss(chain: Tiny, kept: int, draft: int) -> None:
    """After a text that shares some of its beginning, anywhere in a page or between two."""
    first, prompt = text_of(kept, 1) + text_of(60, 2), text_of(kept, 1) + text_of(80, 3)
    cold, warm = make(chain, draft=Fixed(draft)), make(chain, draft=Fixed(draft))
    finish(warm, warm.submit(text_of(kept, 1), max_tokens=1))  # its end is a checkpoint
    finish(warm, warm.submit(first, max_tokens=9))
    expected, cold_bytes = follow(cold, prompt, 20)
    sequence, warm_bytes = follow(warm, prompt, 20)
    assert sequence.cached == kept
    assert expected.cached == 0
    assert warm_bytes == cold_bytes
    assert finish(warm, sequence) == finish(cold, expected)
    assert warm.cache.prefixes is not None
    assert warm.cache.prefixes.report().found_tokens >= kept


def test_a_second_turn_reads_only_what_is_new(chain: Tiny) -> None:
    rig = make(chain)
    prompt = text_of(200)
    answer = finish(rig, rig.submit(prompt, max_tokens=50))
    longer = [*prompt, *answer, *text_of(30, 5)]
    sequence, warm = follow(rig, longer, 20)
    # All but the last token, which was never computed, and drafts of the last round.
    assert 250 - 1 - 3 <= sequence.cached <= 250 - 1
    _, cold = follow(make(chain), longer, 20)
    assert warm == cold


def test_the_next_turn_goes_on_after_the_last_whole_message(chain: Tiny) -> None:
    """Though its history has another beginning of the answer than the first prompt."""
    rig = make(chain)
    end = chain.vocab.end_of_turn
    message = [*text_of(45), end]
    rig.submit([*message, *text_of(6, 1)], max_tokens=9)
    rig.run()
    second = rig.submit([*message, *text_of(30, 2)], max_tokens=9)
    rig.run()
    assert second.cached == 46


def test_regenerating_reads_less_than_a_page(chain: Tiny) -> None:
    rig = make(chain)
    prompt = text_of(200)
    finish(rig, rig.submit(prompt, max_tokens=50, seed=1, temperature=1.0))
    again = rig.submit(prompt, max_tokens=50, seed=2, temperature=1.0)
    rig.step()
    assert again.cached == 3 * PAGE


def test_a_long_prompt_leaves_checkpoints_on_the_grid(chain: Tiny) -> None:
    rig = make(chain)
    prompt = text_of(300)
    finish(rig, rig.submit(prompt, max_tokens=2))
    interval = rig.cache.size.checkpoint_interval
    assert interval == 256
    other = rig.submit(prompt[:270] + text_of(30, 9), max_tokens=2)
    rig.run()
    assert other.cached == 256


def test_where_two_prompts_part_a_third_goes_on(chain: Tiny) -> None:
    rig = make(chain)
    system = text_of(140)
    cached = []
    for seed in range(3):
        sequence = rig.submit(system + text_of(60, seed + 1), max_tokens=2)
        rig.run()
        cached.append(sequence.cached)
    assert cached == [0, 0, 2 * PAGE]


def test_requests_that_come_together_read_their_common_part_once(chain: Tiny) -> None:
    prompts = [text_of(140) + text_of(20, seed) for seed in (1, 2, 3)]
    rig, cold = make(chain), make(chain, retain=0)
    sequences = [rig.submit(prompt, max_tokens=12) for prompt in prompts]
    expected = [cold.submit(prompt, max_tokens=12) for prompt in prompts]
    rig.run()
    cold.run()
    assert [s.cached for s in sequences] == [0, 2 * PAGE, 2 * PAGE]
    assert [generated(s) for s in sequences] == [generated(s) for s in expected]


def test_the_same_prompt_several_times_at_once_is_read_once(chain: Tiny) -> None:
    rig = make(chain)
    sequences = [rig.submit(text_of(200), max_tokens=5, seed=s) for s in range(4)]
    rig.run()
    assert [s.cached for s in sequences] == [0, *[3 * PAGE] * 3]


def test_who_waits_for_a_prompt_that_is_given_up_reads_it(chain: Tiny) -> None:
    rig = make(chain)
    first, second = (rig.submit(text_of(200), max_tokens=4) for _ in range(2))
    rig.step()
    assert second.lease is None
    rig.engine.cancel(first)
    rig.run()
    assert second.cached == first.computed == 64
    assert second.finish is FinishReason.LENGTH


def test_nothing_is_taken_or_left_where_a_request_says_so(chain: Tiny) -> None:
    rig = make(chain)
    finish(rig, rig.submit(text_of(100), max_tokens=4, cache_prompt=False))
    assert rig.cache.prefixes is not None
    assert rig.cache.prefixes.report().checkpoints == 0
    finish(rig, rig.submit(text_of(100), max_tokens=4))
    again = rig.submit(text_of(100), max_tokens=4, cache_prompt=False)
    rig.run()
    assert again.cached == 0


def test_pages_left_by_requests_without_drafts_serve_those_with(chain: Tiny) -> None:
    rig = make(chain)
    finish(rig, rig.submit(text_of(150), max_tokens=40, draft_n_max=0))
    sequence, warm = follow(rig, text_of(150), 20)
    assert sequence.cached == 2 * PAGE
    assert sequence.stats.draft_n > 0
    _, cold = follow(make(chain), text_of(150), 20)
    assert warm == cold


def test_after_a_step_that_broke_off_nothing_is_remembered(chain: Tiny) -> None:
    rig = make(chain)
    finish(rig, rig.submit(text_of(100), max_tokens=4))
    rig.engine.reset()
    sequence = rig.submit(text_of(100), max_tokens=4)
    rig.run()
    assert sequence.cached == 0


STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([30, 64, 90, 128]), min_size=1, max_size=3),  # parts of a prompt
        st.integers(0, 1),  # which of two texts the last part is of
        st.integers(1, 12),  # tokens
        st.sampled_from([0, 1, 3, None]),  # draft_n_max
        st.booleans(),  # wait for the others first
        st.booleans(),  # cancel on the way
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, retain=st.sampled_from([1 << 14, 1 << 17, 8 * MIB]))
def test_texts_are_those_of_a_cold_engine(chain: Tiny, steps: list[tuple], retain: int) -> None:
    """Whatever came before, however little is kept, in whatever company."""
    warm = make(chain, retain=retain)
    running: list[tuple[Sequence, list[int], SamplingParams, bool]] = []
    for parts, which, tokens, draft, alone, cancelled in steps:
        prompt = [t for i, n in enumerate(parts[:-1]) for t in text_of(n, i)]
        prompt += text_of(parts[-1], 10 + which)
        params = SamplingParams(
            max_tokens=tokens, temperature=0.8, top_k=0, seed=which, draft_n_max=draft
        )
        sequence = warm.engine.submit(prompt, params)
        running.append((sequence, prompt, params, cancelled))
        warm.step()
        if cancelled:
            warm.engine.cancel(sequence)
        if alone:
            warm.run()
    warm.run()
    for sequence, prompt, params, cancelled in running:
        cold = make(chain, retain=0, draft=Fixed(0))
        expected = cold.engine.submit(prompt, params)
        cold.run()
        if cancelled:
            assert generated(expected)[: sequence.generated] == generated(sequence)
        else:
            assert generated(sequence) == generated(expected)
    assert warm.cache.prefixes is not None
    warm.cache.prefixes.clear()
    assert warm.idle
