from __future__ import annotations

import json

from asking import record_of
from hypothesis import given
from hypothesis import strategies as st
from schedules import Schedule, reads

from headlong.bench.answers import read_answer
from headlong.bench.sse import Read, SentEvent, is_done, split


def test_an_event_has_the_time_of_its_last_byte() -> None:
    stream = split([Read(1.0, b"data: on"), Read(2.0, b"e\n"), Read(3.0, b"\ndata: two\n\n")])
    assert stream.events == (SentEvent(2.0, "one"), SentEvent(3.0, "two"))


def test_the_forms_of_the_standard() -> None:
    data = (
        b"\xef\xbb\xbfdata:a\r\nid: 1\r\n: note\r\ndata: b\r\n\r\nevent: x\rdata:  c\r\rdata: d\n\n"
    )
    stream = split([Read(0.0, data)])
    assert [e.data for e in stream.events] == ["a\nb", " c", "d"]
    assert stream.comments == 1


def test_the_end_and_what_is_cut() -> None:
    stream = split([Read(0.5, b"data: {}\n\ndata: [DONE]\n\n"), Read(9.0, b"data: tr")])
    assert stream.done == 0.5
    assert len(stream.events) == 1
    assert stream.rest == b"data: tr"


@given(st.lists(st.integers(1, 40), max_size=200))
def test_the_cut_into_reads_changes_nothing(sizes: list[int]) -> None:
    data = b"".join(r.data for r in reads(Schedule(comments=2))).replace(b"\n", b"\r\n")
    whole = split([Read(0.0, data)])
    parts, begin = [], 0
    for size in sizes:
        parts.append(Read(0.0, data[begin : begin + size]))
        begin += size
    assert split([*parts, Read(0.0, data[begin:])]) == whole
    tail, seen = b"\n", 0
    for part in [*parts, Read(0.0, data[begin:])]:
        seen += is_done(tail, part.data)
        tail = (tail + part.data)[-32:]
    assert seen >= 1


def test_done_inside_a_text_is_no_end() -> None:
    text = json.dumps({"content": "\ndata: [DONE]\n"}).encode()
    assert not is_done(b"\n", b"data: " + text)


def test_a_text_under_two_names_counts_once() -> None:
    delta = {"reasoning": "hm", "reasoning_content": "hm"}
    data = json.dumps({"choices": [{"index": 0, "delta": delta}]})
    answer = read_answer([SentEvent(1.0, data)])
    assert [(e.kind, e.text) for e in answer.events] == [("reasoning", "hm")]


def test_reasoning_and_answer_in_one_event() -> None:
    record = record_of(
        Schedule(steps=(4, 4), reasoning=3, source="reasoning", form="bundle", ids=True)
    )
    kinds = [(e.kind, e.tokens) for e in record.events]
    assert kinds == [("reasoning", 1), ("reasoning", 4), ("content", 0), ("content", 4)]
    assert record.token_ids == tuple(range(1000, 1009))


def test_tool_calls_are_text() -> None:
    call = {"index": 0, "function": {"name": "add", "arguments": '{"a":1}'}}
    data = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    event = read_answer([SentEvent(1.0, data)]).events[0]
    assert (event.kind, event.text) == ("tool", 'add{"a":1}')


def test_completions_and_running_counts() -> None:
    lines = [
        {"choices": [{"index": 0, "text": text}], "usage": usage}
        for text, usage in [
            ("ab", {"prompt_tokens": 1, "completion_tokens": 2}),
            ("c", {"prompt_tokens": 1, "completion_tokens": 5}),
        ]
    ]
    answer = read_answer(SentEvent(i, json.dumps(one)) for i, one in enumerate(lines))
    assert [e.tokens for e in answer.events] == [2, 3]


def test_errors_in_a_stream() -> None:
    assert read_answer([SentEvent(0, '{"error": {"message": "full"}}')]).error == "full"
    assert "not JSON" in str(read_answer([SentEvent(0, "{")]).error)
    assert "no JSON object" in str(read_answer([SentEvent(0, "[1]")]).error)
    assert "not JSON" in str(read_answer([SentEvent(0, "[" * 100_000)]).error)


KEYS = str.split(
    "choices delta content usage timings logprobs token_ids tokens index prompt_tokens text error "
    "completion_tokens top_logprobs tool_calls token_logprobs predicted_n function "
    "acceptance_by_depth"
)
LEAVES = (
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5)
)


@given(
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_a_server_sends_is_read(data: object) -> None:
    answer = read_answer([SentEvent(0.0, json.dumps(data))])
    assert answer.error is None or answer.error
