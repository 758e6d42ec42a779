from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from headlong import LLM, HeadlongError, SamplingParams
from headlong.errors import ContextError, GGUFError, ParameterError, UnsupportedError
from headlong.progress import Silent, Stage
from tiny import Chain, TinySpec, write_tiny

GREEDY = SamplingParams(temperature=0.0, max_tokens=30)
MESSAGES = [{"role": "user", "content": "the end"}]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = TinySpec(chain=Chain(), printable=True, context=512)
    return write_tiny(tmp_path_factory.mktemp("llm") / "chain.gguf", spec).path


@pytest.fixture(scope="module")
def llm(path: Path) -> LLM:
    return LLM(path, context=256, threads=1, sequences=2, draft_n_max=3)


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("llm") / "no-head.gguf", TinySpec(mtp=False)).path


def rounds_beside(llm: LLM) -> Callable[[], int]:
    """Counts rounds of requests other than one more that is run to count them."""
    before = llm.stats.rounds

    def beside() -> int:
        own = llm.generate("x", SamplingParams(temperature=0.0, max_tokens=60)).stats.rounds
        return llm.stats.rounds - before - own

    return beside


# --- Loading


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spec_type": "mtp"}, "spec_type = 'mtp' is not one of: draft-mtp, none"),
        ({"kv_type": "q4_0"}, "kv_type = 'q4_0' is not one of: f16, q8_0"),
        ({"sequences": 0}, "sequences = 0 is not a whole number from 1 to 1024"),
        ({"sequences": 2.5}, "sequences = 2.5 is not a whole number"),
        ({"sequences": "8"}, "sequences = '8' is not a whole number"),
        ({"prefill_rows": 0}, "prefill_rows = 0 is not a whole number from 1 to 8192"),
        ({"prefill_rows": 8193}, "prefill_rows = 8193"),
        ({"context": 1}, "context = 1 is not a whole number from 2 to 512"),
        ({"context": 513}, "context = 513 .* 512, the length the model was trained for"),
        ({"context": "512"}, "context = '512'"),
        ({"draft_n_max": 16}, "draft_n_max.* is 16.*0 to 15"),
        ({"draft_n_max": -1}, "draft_n_max.* is -1"),
        ({"draft_n_max": "many"}, "draft_n_max.* is 'many'"),
        ({"draft_n_max": 2.5}, "draft_n_max.* is 2.5"),
        ({"threads": 0}, "threads = 0 lies outside 1..1024"),
        ({"isa": "sse9"}, "instruction set 'sse9' does not run here"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_unusable_arguments_are_named(path: Path, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        LLM(path, **arguments)  # type: ignore[arg-type]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"nothing\.gguf"):
        LLM(tmp_path / "nothing.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("this is no model")
    with pytest.raises(GGUFError, match=r"text\.gguf"):
        LLM(str(text))


def test_a_cache_that_heads_do_not_fit_is_refused_when_loading(tmp_path: Path) -> None:
    odd = write_tiny(tmp_path / "odd.gguf", TinySpec(head_dim=48, heads=2, hidden=96, ffn=96)).path
    with pytest.raises(UnsupportedError, match="48 values; use kv_type f16"):
        LLM(odd, kv_type="q8_0")
    assert len(LLM(odd, draft_n_max=2).generate("a", GREEDY).tokens) > 0


def test_the_context_is_what_was_asked_for_and_at_most_what_was_trained(path: Path) -> None:
    assert LLM(path, spec_type="none").context == 512
    assert LLM(path, spec_type="none", context=77).context == 77
    with pytest.raises(ContextError, match="77 tokens and the context only 77"):
        LLM(path, spec_type="none", context=77).generate([40] * 77)


def test_heads_are_loaded_where_there_are_any_and_they_are_wanted(
    path: Path, headless: Path
) -> None:
    assert LLM(path, draft_n_max=1).has_mtp
    assert not LLM(path, spec_type="none").has_mtp
    plain = LLM(headless)
    assert not plain.has_mtp
    completion = plain.generate("a", GREEDY)
    assert completion.stats.draft_n == 0
    assert completion.stats.rounds == len(completion.tokens) - 1


def test_loading_reports_its_stages_and_measured_costs_only_where_they_decide(path: Path) -> None:
    class Names(Silent):
        def __init__(self) -> None:
            self.names: list[str] = []

        @contextmanager
        def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
            self.names.append(name)
            yield self

    for arguments, expected in (
        ({"draft_n_max": "auto"}, ["weights", "tokenizer", "costs"]),
        ({"draft_n_max": 2}, ["weights", "tokenizer"]),
        ({"spec_type": "none"}, ["weights", "tokenizer"]),
    ):
        progress = Names()
        LLM(path, progress=progress, **arguments)  # type: ignore[arg-type]
        assert progress.names == expected


@pytest.mark.parametrize("context", [2, 3, 64, 65])
def test_short_contexts_hold_what_they_say(path: Path, context: int) -> None:
    """Costs are measured in them as well, with passes longer than the shortest."""
    llm = LLM(path, context=context, sequences=1, threads=1)
    completion = llm.generate([40], SamplingParams(temperature=0.0))
    assert len(completion.tokens) == context - 1
    assert completion.finish_reason == "length"
    assert completion.tokens == llm.generate([40], SamplingParams(temperature=0.0)).tokens


# --- Prompts


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "no tokens"),
        ([], "no tokens"),
        ([1.5], "a text or a list of token ids"),
        (["a"], "a text or a list of token ids"),
        (None, "a text or a list of token ids"),
        (7, "a text or a list of token ids"),
        ([320], r"outside 0\.\.319"),
        ([-1], r"outside 0\.\.319"),
        ("a\ud800", "lone surrogate"),
    ],
)
def test_unusable_prompts_are_refused(llm: LLM, prompt: object, words: str) -> None:
    beside = rounds_beside(llm)
    for use in (llm.generate, llm.stream, llm.logits):
        with pytest.raises(ParameterError, match=words):
            use(prompt)  # type: ignore[operator]
    assert beside() == 0


def test_token_ids_may_come_in_any_sequence_of_whole_numbers(llm: LLM) -> None:
    expected = llm.generate([50, 51], GREEDY).tokens
    assert llm.generate((50, 51), GREEDY).tokens == expected
    assert llm.generate(np.array([50, 51]), GREEDY).tokens == expected  # type: ignore[arg-type]
    assert llm.generate(range(50, 52), GREEDY).tokens == expected
    assert llm.logits(np.array([50, 51])).tobytes() == llm.logits([50, 51]).tobytes()  # type: ignore[arg-type]


def test_a_text_is_its_tokens(llm: LLM) -> None:
    completion = llm.generate("the end<|im_end|>", GREEDY)
    assert completion.prompt_tokens == tuple(llm.tokenizer.encode("the end<|im_end|>"))
    assert completion.prompt_tokens[-1] == llm.tokenizer.special_id("<|im_end|>")
    assert completion.tokens == llm.generate(completion.prompt_tokens, GREEDY).tokens


def test_logits_are_those_that_the_answer_begins_with(llm: LLM) -> None:
    tokens = [50, 51, 52]
    for token in llm.generate(tokens, GREEDY).tokens[:5]:
        logits = llm.logits(tokens)
        assert logits.shape == (320,)
        assert logits.dtype == np.float32
        assert int(logits.argmax()) == token
        tokens.append(token)


# --- Batches


def test_a_batch_answers_each_as_if_alone(llm: LLM) -> None:
    prompts = ["a", [50, 51], "the", "a"]
    params = [
        GREEDY,
        SamplingParams(max_tokens=20, temperature=1.2, seed=4),
        SamplingParams(max_tokens=1, temperature=0.0),
        SamplingParams(max_tokens=20, temperature=0.0, draft_n_max=0),
    ]
    together = llm.batch(prompts, params)
    for prompt, own, completion in zip(prompts, params, together, strict=True):
        alone = llm.generate(prompt, own)
        assert completion.tokens == alone.tokens
        assert completion.text == alone.text
        assert completion.finish_reason == alone.finish_reason
    assert llm.batch(prompts[:1], GREEDY)[0].tokens == together[0].tokens
    assert llm.batch([], GREEDY) == []


def test_batches_that_make_no_sense_are_refused(llm: LLM) -> None:
    beside = rounds_beside(llm)
    with pytest.raises(ParameterError, match=r"takes a list of prompts.*generate\(\)"):
        llm.batch("a text")
    with pytest.raises(ParameterError, match="2 sampling parameters were given for 1 prompts"):
        llm.batch(["a"], [GREEDY, GREEDY])
    with pytest.raises(ParameterError, match="no tokens"):
        llm.batch(["a", "b", ""], GREEDY)
    with pytest.raises(ContextError, match="300 tokens"):
        llm.batch(["a", "b", [50] * 300], GREEDY)
    assert beside() == 0


# --- Streams


@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize("close", [True, False])
def test_streams_that_are_left_stop_computing(llm: LLM, taken: int, close: bool) -> None:
    streams = [
        llm.stream("a", SamplingParams(temperature=0.0)),
        llm.stream_chat(MESSAGES, SamplingParams(temperature=0.0)),
    ]
    for stream in streams:
        for _ in range(taken):
            next(stream)
    beside = rounds_beside(llm)
    if close:
        for stream in streams:
            stream.close()
    del stream
    streams.clear()
    assert beside() == 0


def test_refusals_come_at_once_and_not_with_the_first_chunk(llm: LLM) -> None:
    with pytest.raises(ContextError):
        llm.stream([50] * 256)
    with pytest.raises(HeadlongError):
        llm.stream_chat([{"role": "user", "content": 7}])


def test_a_conversation_is_answered_as_its_prompt_is(llm: LLM) -> None:
    answer = llm.chat(MESSAGES, GREEDY)
    prompt = "<|im_start|>user\nthe end<|im_end|>\n<|im_start|>assistant\n"
    completion = llm.generate(prompt, GREEDY)
    assert answer.completion.prompt_tokens == completion.prompt_tokens
    assert answer.completion.tokens == completion.tokens
    assert answer.content == completion.text
    assert answer.reasoning == ""
    assert answer.tool_calls == ()
    chunks = list(llm.stream_chat(MESSAGES, GREEDY))
    assert "".join(chunk.content for chunk in chunks) == answer.content
    assert [chunk.answer is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].answer is not None
    assert chunks[-1].answer.content == answer.content


def test_totals_are_the_sum_of_all_requests(path: Path) -> None:
    llm = LLM(path, context=128, threads=1, draft_n_max=2)
    completions = [*llm.batch(["a", "b"], GREEDY), llm.generate("c", GREEDY)]
    assert llm.stats.rounds == sum(c.stats.rounds for c in completions) > 0
    assert llm.stats.draft_n == sum(c.stats.draft_n for c in completions) > 0


@pytest.mark.parametrize("draft_n_max", ["auto", 0, 5])
def test_how_much_is_drafted_never_shows_in_the_text(path: Path, draft_n_max: str | int) -> None:
    params = SamplingParams(max_tokens=120, temperature=0.8, seed=8, repeat_penalty=1.1)
    expected = LLM(path, threads=1, spec_type="none").generate("the", params)
    found = LLM(path, threads=1, draft_n_max=draft_n_max).generate("the", params)
    assert found.tokens == expected.tokens
    assert found.text == expected.text


# --- Costs kept between runs


def test_costs_are_kept_for_the_next_start(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLONG_CACHE", str(tmp_path / "kept"))
    llm = LLM(path, context=256, threads=1, sequences=1)
    (file,) = (tmp_path / "kept").iterdir()
    assert json.loads(file.read_text())["costs"]["lessons"] == 0
    while llm.stats.rounds < 1500:  # short rounds teach now and then
        llm.generate([40, 41], SamplingParams(max_tokens=200, temperature=1.5, ignore_eos=True))
    llm.close()
    assert json.loads(file.read_text())["costs"]["lessons"] >= 64

    def measured(*arguments: object) -> None:
        raise AssertionError("costs were known")

    monkeypatch.setattr("headlong.engine.calibrate.measure_costs", measured)
    monkeypatch.setattr("headlong.engine.calibrate.SPREAD", 1e9)  # whatever this machine is doing
    again = LLM(path, context=256, threads=1, sequences=1)
    again.close()
    assert list((tmp_path / "kept").iterdir()) == [file]


def test_what_was_learned_is_kept_when_the_object_is_dropped(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLONG_CACHE", str(tmp_path))
    llm = LLM(path, context=256, threads=1, sequences=1)
    (file,) = tmp_path.iterdir()
    file.unlink()
    while llm.stats.rounds < 1500:
        llm.generate([40, 41], SamplingParams(max_tokens=200, temperature=1.5, ignore_eos=True))
    del llm
    gc.collect()
    assert file.exists()


def test_a_folder_that_cannot_be_written_is_noted(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("HEADLONG_CACHE", str(blocked))
    notes: list[str] = []

    class Noted(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    llm = LLM(path, context=256, threads=1, progress=Noted())
    assert [n for n in notes if str(blocked) in n and "HEADLONG_CACHE" in n]
    llm.close()


def test_fixed_lengths_need_no_costs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLONG_CACHE", str(tmp_path))
    LLM(path, context=256, threads=1, draft_n_max=2).close()
    LLM(path, context=256, threads=1, spec_type="none").close()
    assert not list(tmp_path.iterdir())
