from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from rig import Rig, greedy

from headlong.engine.requests import Chunk, Completion, Timings
from headlong.errors import HeadlongError, ParameterError
from headlong.sampling import SamplingParams
from headlong.speculation import Fixed
from tiny import Tiny, TinySpec, write_tiny


def complete(rig: Rig, prompt: list[int], params: SamplingParams) -> Completion:
    return rig.requests.finish([rig.requests.submit(prompt, params)])[0]


def last(chunks: list[Chunk]) -> Completion:
    """The completion at the end of a stream, which no other chunk has."""
    assert all(chunk.completion is None for chunk in chunks[:-1])
    completion = chunks[-1].completion
    assert completion is not None
    return completion


# --- Streams


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("prefill_rows", [5, 256])
def test_the_chunks_make_up_the_completion(chain: Tiny, n: int, prefill_rows: int) -> None:
    rig = Rig.make(chain.path, draft=Fixed(n), prefill_rows=prefill_rows)
    request = rig.requests.submit([40, 41, 42, 43, 44, 45, 46], greedy(max_tokens=50))
    chunks = list(rig.requests.chunks(request))
    completion = last(chunks)
    assert "".join(chunk.text for chunk in chunks) == completion.text
    assert tuple(t for chunk in chunks for t in chunk.tokens) == completion.tokens
    assert len(completion.tokens) == 50
    assert completion.text == rig.model.tokenizer.decode(completion.tokens)
    assert sum(chunk.accepted for chunk in chunks) == completion.stats.draft_n_accepted
    read = [chunk.prompt_done for chunk in chunks]
    assert read == sorted(read)
    assert read[0] == min(prefill_rows, 7)
    assert read[-1] == 7
    assert all(chunk.tokens for chunk in chunks if chunk.prompt_done == 7)
    assert rig.idle


def test_text_of_arbitrary_bytes_is_cut_between_characters(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Random tokens are mostly broken UTF-8; streamed or not, the text is that of all of them."""
    path = tmp_path_factory.mktemp("bytes") / "random.gguf"
    write_tiny(path, TinySpec())
    rig = Rig.make(path, draft=Fixed(2))
    params = SamplingParams(max_tokens=80, temperature=1.5, top_k=0, min_p=0.0, seed=5)
    chunks = list(rig.requests.chunks(rig.requests.submit([50], params)))
    completion = last(chunks)
    assert "�" in completion.text
    assert "".join(chunk.text for chunk in chunks) == completion.text
    assert completion.text == rig.model.tokenizer.decode(completion.tokens)


def test_interleaved_streams_give_what_each_gives_alone(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    params = greedy(max_tokens=40)
    alone = [complete(rig, [40 + i], params) for i in range(3)]
    streams = [rig.requests.chunks(rig.requests.submit([40 + i], params)) for i in range(3)]
    texts = ["", "", ""]
    completions: list[Completion | None] = [None] * 3
    turn = 0
    while any(c is None for c in completions):
        which = (turn * turn) % 3 if turn % 5 else turn % 3  # not in a regular order
        turn += 1
        chunk = next(streams[which], None)
        if chunk is not None:
            texts[which] += chunk.text
            completions[which] = chunk.completion
    assert texts == [c.text for c in alone]
    assert [c and c.tokens for c in completions] == [c.tokens for c in alone]
    assert rig.idle


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_a_closed_stream_is_cancelled(chain: Tiny, taken: int) -> None:
    rig = Rig.make(chain.path)
    stream = rig.requests.chunks(rig.requests.submit([40], greedy()))
    for _ in range(taken):
        next(stream)
    stream.close()
    assert rig.idle


@pytest.mark.parametrize("taken", [0, 3])
def test_a_dropped_stream_is_cancelled(chain: Tiny, taken: int) -> None:
    rig = Rig.make(chain.path)
    stream = rig.requests.chunks(rig.requests.submit([40], greedy()))
    for _ in range(taken):
        next(stream)
    del stream
    gc.collect()
    assert rig.idle


def test_a_stream_may_be_closed_in_the_middle_of_a_step(chain: Tiny) -> None:
    """As the garbage collector does with an iterator in a reference cycle."""
    rig = Rig.make(chain.path)
    params = greedy(max_tokens=60)
    expected = complete(rig, [41], params)
    first = rig.requests.chunks(rig.requests.submit([41], params))
    second = rig.requests.chunks(rig.requests.submit([42] * 63, params))
    for _ in range(4):
        next(first)
    rig.ops.before = lambda name: second.close() if name == "attend" else None
    next(first)
    rig.ops.before = lambda name: None
    assert rig.cache.free_slots == rig.slots - 1
    later = rig.requests.submit([42] * 63, params)  # into the slot and pages that were freed
    assert last(list(first)).tokens[-20:] == expected.tokens[-20:]
    assert rig.requests.finish([later])[0].tokens == complete(rig, [42] * 63, params).tokens
    assert rig.idle


# --- Stop strings


@pytest.mark.parametrize("length", [1, 2, 5, 9])
@pytest.mark.parametrize("start", [1, 7, 20])
def test_a_stop_string_ends_the_same_text_at_the_same_token(
    chain: Tiny, start: int, length: int
) -> None:
    rig = Rig.make(chain.path, draft=Fixed(15))
    text = complete(rig, [40, 41], greedy(max_tokens=60)).text
    stop = text[start : start + length]
    # A second one that is longer and would be met later, and one that never comes.
    params = greedy(max_tokens=60, stop=(stop, text[start : start + length + 1], "\x00"))
    expected = complete(rig, [40, 41], replace(params, draft_n_max=0))
    assert expected.text == text[: text.index(stop)]
    assert expected.finish_reason == "stop"
    assert expected.stop == stop
    assert len(expected.tokens) < 60
    for n in (1, 3, 15):
        found = complete(rig, [40, 41], replace(params, draft_n_max=n))
        assert found.text == expected.text
        assert found.tokens == expected.tokens
        assert (found.finish_reason, found.stop) == ("stop", stop)
        assert found.timings.predicted == len(expected.tokens)
        chunks = list(
            rig.requests.chunks(rig.requests.submit([40, 41], replace(params, draft_n_max=n)))
        )
        assert "".join(chunk.text for chunk in chunks) == expected.text
        assert tuple(t for chunk in chunks for t in chunk.tokens) == expected.tokens
        assert all(chunk.accepted <= len(chunk.tokens) for chunk in chunks)
    assert rig.idle


def test_a_stop_string_that_is_not_completed_is_text(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    text = complete(rig, [40, 41], greedy(max_tokens=30)).text
    params = greedy(max_tokens=30, stop=(text[-3:] + "\x00",))
    completion = complete(rig, [40, 41], params)
    assert completion.text == text
    assert (completion.finish_reason, completion.stop) == ("length", None)


def test_a_stop_string_in_the_last_token_beats_the_length(chain: Tiny) -> None:
    rig = Rig.make(chain.path, draft=Fixed(0))
    whole = complete(rig, [40, 41], greedy(max_tokens=30))
    tokens = whole.tokens[:10]
    text = rig.model.tokenizer.decode(tokens)
    stop = text[-1]
    assert stop not in text[:-1]
    completion = complete(rig, [40, 41], greedy(max_tokens=10, stop=(stop,)))
    assert completion.tokens == tokens
    assert completion.finish_reason == "stop"


def test_a_character_that_is_never_finished_can_complete_a_stop_string(chain: Tiny) -> None:
    """Its replacement appears once no more tokens come, and the end is reported as a stop."""
    rig = Rig.make(chain.path)
    lead = chain.vocab.tokens.index("â")  # the byte 0xE2, which begins a character of three
    params = greedy(max_tokens=1, logit_bias={lead: 1e6}, stop=("�",))
    completion = complete(rig, [40], params)
    assert completion.tokens == (lead,)
    assert completion.text == ""
    assert (completion.finish_reason, completion.stop) == ("stop", "�")


def test_too_many_stop_strings_are_refused_before_anything_runs(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    with pytest.raises(ParameterError, match="stop"):
        rig.requests.submit([40], greedy(stop=tuple(f"s{i}" for i in range(65))))
    assert rig.idle


# --- Completions


def test_a_completion_says_what_was_asked_and_how_it_went(ending: Tiny) -> None:
    rig = Rig.make(ending.path)
    completion = complete(rig, [50, 51, 52], SamplingParams(max_tokens=12, seed=99))
    assert completion.prompt_tokens == (50, 51, 52)
    assert completion.seed == 99
    assert (completion.finish_reason, completion.stop) == ("length", None)
    timings = completion.timings
    assert (timings.prompt, timings.predicted) == (3, 12)
    assert timings.prompt_seconds > 0
    assert timings.predicted_seconds > 0
    assert timings.prompt_per_second == pytest.approx(3 / timings.prompt_seconds)
    assert timings.predicted_per_second == pytest.approx(11 / timings.predicted_seconds)


def test_a_drawn_seed_repeats_the_answer(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    params = SamplingParams(max_tokens=30, temperature=1.5)
    drawn = complete(rig, [50], params)
    assert complete(rig, [50], replace(params, seed=drawn.seed)).tokens == drawn.tokens


def test_one_token_has_no_speed(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    completion = complete(rig, [50], greedy(max_tokens=1))
    assert len(completion.tokens) == 1
    assert completion.timings.predicted_seconds == 0
    assert completion.timings.predicted_per_second == 0
    assert completion.stats.rounds == 0
    assert completion.stats.acceptance_rate is None


def test_speeds_before_anything_was_timed_are_zero() -> None:
    timings = Timings(prompt=5, prompt_seconds=0.0, predicted=2, predicted_seconds=0.0)
    assert timings.prompt_per_second == 0
    assert timings.predicted_per_second == 0


def test_control_tokens_leave_no_text_unless_they_are_asked_for(ending: Tiny) -> None:
    rig = Rig.make(ending.path)
    end = ending.vocab.end_of_turn
    params = greedy(max_tokens=5, logit_bias={end: 1e6})
    hidden = rig.requests.submit([50], params)
    shown = rig.requests.submit([50], params, special=True)
    completions = rig.requests.finish([hidden, shown])
    assert [c.tokens for c in completions] == [(end,)] * 2
    assert [c.text for c in completions] == ["", "<|im_end|>"]
    assert [c.finish_reason for c in completions] == ["stop"] * 2


# --- Failures


def test_the_first_refusal_of_a_batch_cancels_what_was_submitted_before_it(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    prompts: list[list[int]] = [[40], [41], [], [42]]
    with pytest.raises(ParameterError, match="no tokens"):
        rig.requests.finish(rig.requests.submit(p, greedy(max_tokens=5)) for p in prompts)
    assert rig.idle


def test_an_error_reaches_its_owner_and_nobody_else(poisoned: Tiny) -> None:
    rig = Rig.make(poisoned.path)
    bad = poisoned.likely[0]
    params = greedy(max_tokens=30, logit_bias={bad: False})
    expected = complete(rig, [50], params)
    healthy = rig.requests.chunks(rig.requests.submit([50], params))
    broken = rig.requests.chunks(rig.requests.submit([bad], params))
    assert last(list(healthy)).tokens == expected.tokens
    with pytest.raises(HeadlongError, match="NaN"):
        list(broken)
    assert list(broken) == []
    assert rig.idle


@pytest.mark.parametrize("n", [0, 5])
def test_a_stream_shows_all_that_was_settled_before_it_failed(poisoned: Tiny, n: int) -> None:
    rig = Rig.make(poisoned.path, draft=Fixed(n))
    bad = poisoned.likely[0]
    start = bad
    before = {poisoned.next_token[t]: t for t in poisoned.likely}
    for _ in range(9):
        start = before[start]
    tokens: list[int] = []
    text = ""
    with pytest.raises(HeadlongError, match="NaN"):
        for chunk in rig.requests.chunks(rig.requests.submit([start], greedy())):
            tokens += chunk.tokens
            text += chunk.text
            assert chunk.completion is None
    assert tokens[-1] == bad
    assert len(tokens) >= 9
    assert text == rig.model.tokenizer.decode(tokens)
    # A text that ends before the failure is whole, however far drafts looked ahead.
    stop = rig.model.tokenizer.decode(tokens[-4:-1])
    assert stop not in text[: -len(stop) - 1]
    completion = complete(rig, [start], greedy(stop=(stop,)))
    assert completion.finish_reason == "stop"
    assert completion.tokens == tuple(tokens[:-1])
    assert rig.idle


@pytest.mark.parametrize("cause", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("operation", ["embed", "attend", "ffn"])
def test_a_step_that_breaks_off_ends_every_request_and_leaves_the_engine_usable(
    chain: Tiny, operation: str, cause: type[BaseException]
) -> None:
    rig = Rig.make(chain.path, sequences=2)
    params = greedy(max_tokens=40)
    expected = complete(rig, [40], params)
    streams = [rig.requests.chunks(rig.requests.submit([40 + i], params)) for i in range(3)]
    for _ in range(3):
        next(streams[0])
    calls = 0

    def break_off(name: str) -> None:
        nonlocal calls
        calls += name == operation
        if calls == 6:
            raise cause

    rig.ops.before = break_off
    with pytest.raises(cause):
        list(streams[0])
    rig.ops.before = lambda name: None
    assert rig.idle
    for other in streams[1:]:  # running, and waiting for a slot
        with pytest.raises(HeadlongError, match=rf"a step broke off \({cause.__name__}\(\)\)"):
            list(other)
    assert complete(rig, [40], params).tokens == expected.tokens
    assert rig.idle
