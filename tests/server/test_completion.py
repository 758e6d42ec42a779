"""``/completion``, in llama-server's dialect, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Served, serving
from serving_engines import CONTEXT, loads

from headlong import LLM, SamplingParams

GREEDY = {"temperature": 0, "n_predict": 24}
PROMPT = "the end of"


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Served]:
    with serving(loads(model), alias=("tiny",)) as running:
        yield running


@pytest.fixture(scope="module")
def llm(model: Path) -> LLM:
    return LLM(model, context=CONTEXT, threads=1, draft_n_max=3)


def test_an_answer(served: Served, llm: LLM) -> None:
    response = served.post("/completion", {"prompt": PROMPT, **GREEDY, "return_tokens": True})
    assert response.status_code == 200
    answer = response.json()
    alone = llm.generate(PROMPT, SamplingParams(temperature=0.0, max_tokens=24))
    assert answer["content"] == alone.text
    assert tuple(answer["tokens"]) == alone.tokens
    assert answer["stop"] is True
    assert answer["stop_type"] == "limit"
    assert answer["truncated"] is False
    assert answer["tokens_predicted"] == 24
    assert answer["tokens_evaluated"] == len(alone.prompt_tokens)
    assert answer["model"] == "tiny"
    assert answer["generation_settings"]["temperature"] == 0
    timings = answer["timings"]
    assert timings["prompt_n"] == len(alone.prompt_tokens)
    assert timings["predicted_n"] == 24
    assert timings["predicted_ms"] > 0
    assert timings["draft_n"] == alone.stats.draft_n
    assert timings["draft_n_accepted"] == alone.stats.draft_n_accepted > 0
    assert (
        sum(depth["accepted"] for depth in timings["acceptance_by_depth"])
        == (timings["draft_n_accepted"])
    )


def test_a_stream_has_an_event_for_every_step(served: Served, llm: LLM) -> None:
    events = served.events(
        "/completion",
        {"prompt": PROMPT, **GREEDY, "stream": True, "timings_per_token": True},
    )
    alone = llm.generate(PROMPT, SamplingParams(temperature=0.0, max_tokens=24))
    assert "".join(event["content"] for event in events) == alone.text
    assert [token for event in events for token in event["tokens"]] == list(alone.tokens)
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert len(events) == alone.stats.rounds + 1
    assert sum(event["accepted"] for event in events) == alone.stats.draft_n_accepted
    counts = [event["tokens_predicted"] for event in events]
    assert counts == sorted(counts)
    assert counts[-1] == 24
    assert events[-1]["timings"]["predicted_n"] == 24
    assert events[1]["timings"]["draft_rounds"] >= 1


def test_prompts_in_every_shape(served: Served, llm: LLM) -> None:
    ids = llm.tokenizer.encode(PROMPT)
    first, rest = llm.tokenizer.decode(ids[:1]), ids[1:]
    shapes = [PROMPT, ids, [first, *rest]]
    answers = [served.post("/completion", {"prompt": s, **GREEDY}).json() for s in shapes]
    assert len({answer["content"] for answer in answers}) == 1
    several = served.post("/completion", {"prompt": [PROMPT, ids, [first, *rest]], **GREEDY})
    # A list with a list in it holds prompts, as do nothing but texts.
    assert [a["content"] for a in several.json()] == [answers[0]["content"]] * 3
    assert [a["index"] for a in several.json()] == [0, 1, 2]
    texts = served.post("/completions", {"prompt": [PROMPT, "a"], **GREEDY}).json()
    assert texts[0]["content"] == answers[0]["content"] != texts[1]["content"]


def test_several_answers_differ_by_seed(served: Served) -> None:
    body = {"prompt": PROMPT, "n_predict": 12, "seed": 5, "temperature": 2.0, "top_k": 0,
            "min_p": 0, "top_p": 1}  # fmt: skip
    both = served.post("/completion", {**body, "n_cmpl": 2}).json()
    assert [a["generation_settings"]["seed"] for a in both] == [5, 6]
    second = served.post("/completion", {**body, "seed": 6}).json()
    assert both[1]["content"] == second["content"] != both[0]["content"]


def test_stop_strings_and_chosen_fields(served: Served) -> None:
    whole = served.post("/completion", {"prompt": PROMPT, **GREEDY}).json()["content"]
    stop = whole[5:8]
    body = {"prompt": PROMPT, **GREEDY, "stop": [stop],
            "response_fields": ["content", "stop_type", "stopping_word", "timings/prompt_n",
                                "generation_settings/nothing"]}  # fmt: skip
    answer = served.post("/completion", body).json()
    assert answer.pop("prompt_n") > 0
    assert answer == {
        "content": whole[: whole.index(stop)], "stop_type": "word", "stopping_word": stop,
    }  # fmt: skip


def test_speculation_can_be_switched_off(served: Served) -> None:
    body = {"prompt": PROMPT, **GREEDY}
    answers = [
        served.post("/completion", {**body, **switch}).json()
        for switch in ({}, {"speculative": {"n_max": 0}}, {"speculative": False},
                       {"speculative.n_max": 1})
    ]  # fmt: skip
    assert len({answer["content"] for answer in answers}) == 1
    drafted = [answer["timings"]["draft_n"] for answer in answers]
    assert drafted[1] == drafted[2] == 0 < drafted[3] < drafted[0]
    assert len(answers[3]["timings"]["acceptance_by_depth"]) == 1


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"temperature": "1"}, "temperature", "valid number"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"top_p": 2}, "top_p", "from 0 to 1"),
        ({"n_predict": 0}, "n_predict", "1 or more"),
        ({"n_predict": 1.5}, "n_predict", "valid integer"),
        ({"n_predict": 3, "max_tokens": 4}, "max_tokens", "differ"),
        ({"mirostat": 2}, "mirostat", "send 0"),
        ({"samplers": ["top_p", "top_k"]}, "samplers", "in the order"),
        ({"samplers": ["best"]}, "samplers", "known are"),
        ({"logit_bias": [[1]]}, "logit_bias", "pairs"),
        ({"logit_bias": {"5000": 1}}, "logit_bias", "this model's ids"),
        ({"stop": [""]}, "stop", "not empty"),
        ({"speculative": {"n_max": 4}}, "speculative.n_max", "0 to 3"),
        ({"speculative": {"n_mx": 4}}, "speculative.n_mx", "did you mean 'n_max'"),
        ({"speculative.n_max": 16}, "speculative.n_max", "0 to 3"),
        ({"speculative.p_min": 0.5}, "speculative.p_min", "no counterpart"),
        ({"prompt": []}, "prompt", "empty list"),
        ({"prompt": ""}, "prompt", "no tokens"),
        ({"prompt": [1, 99999]}, "prompt", "outside"),
        ({"prompt": "x " * 600}, "prompt", f"context only {CONTEXT}"),
        ({"prompt": "\ud800"}, "prompt", "surrogate"),
        ({"n_cmpl": 0}, "n_cmpl", "1 to 128"),
        ({"image_data": []}, "image_data", "read text only"),
        ({"seed": -2}, "seed", "0 to"),
        ({"lora": [{"id": 0}]}, "lora", "LoRA"),
    ],
)
def test_bad_requests_name_the_field(
    served: Served, change: dict[str, object], param: str, words: str
) -> None:

    body = json.dumps({"prompt": PROMPT, **GREEDY, **change})
    response = served.client.post(
        "/completion", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no body"),
        (b"{", "not JSON"),
        (b"[1]", "JSON object"),
        (b"\xff", "not UTF-8"),
        (b"[" * 5000, "levels"),
        (b'{"prompt": ' + b"[" * 70 + b"]" * 70 + b"}", "levels"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
    ids=range(7),
)
def test_bodies_that_are_no_requests(served: Served, content: bytes, words: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = served.client.post("/completion", content=content, headers=headers)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_json_must_be_called_so(served: Served) -> None:
    # A page elsewhere could otherwise send it without the browser asking first.
    for headers in ({"Content-Type": "text/plain"}, {}):
        response = served.client.post("/completion", content=b'{"prompt": "x"}', headers=headers)
        assert response.status_code == 400
        assert "Content-Type: application/json" in response.json()["error"]["message"]


def test_neutral_values_of_what_is_missing_here(served: Served) -> None:
    body = {"prompt": PROMPT, **GREEDY, "mirostat": 0, "mirostat_tau": 5.0, "dry_multiplier": 0.0,
            "dry_base": 1.75, "xtc_probability": 0, "min_keep": 0, "id_slot": -1, "lora": [],
            "dynatemp_range": 0.0, "top_n_sigma": -1, "n_keep": 64, "temperature": None,
            "cache_prompt": True, "samplers": ["penalties", "dry", "top_k", "typ_p", "top_p",
            "min_p", "xtc", "temperature"]}  # fmt: skip
    assert served.post("/completion", body).status_code == 200


def test_samplers_that_are_not_named_are_off(served: Served) -> None:
    body = {"prompt": PROMPT, "n_predict": 2, "samplers": ["top_k", "temperature"]}
    settings = served.post("/completion", body).json()["generation_settings"]
    assert (settings["top_k"], settings["min_p"], settings["top_p"]) == (40, 0, 1)


def test_progress_of_a_prompt(served: Served) -> None:
    prompt = [90] * 300
    body = {"prompt": prompt, "n_predict": 2, "stream": True, "return_progress": True,
            "cache_prompt": False}  # fmt: skip
    events = served.events("/completion", body)
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert [one["processed"] for one in progress] == sorted(one["processed"] for one in progress)
    assert len(progress) >= 2
    assert all(one["total"] == 300 and one["cache"] == 0 for one in progress)
    assert all(0 < one["processed"] < 300 and one["time_ms"] >= 0 for one in progress)


def test_a_context_that_is_full_truncates(served: Served) -> None:
    body = {"prompt": [90] * (CONTEXT - 3), "temperature": 0, "ignore_eos": True}
    answer = served.post("/completion", body).json()
    assert (answer["tokens_predicted"], answer["truncated"], answer["stop_type"]) == (
        3, True, "limit",
    )  # fmt: skip


def test_unknown_places_and_methods(served: Served) -> None:
    assert served.client.get("/nowhere").json()["error"]["code"] == "not_found"
    wrong = served.client.get("/completion")
    assert wrong.status_code == 405
    assert "takes POST, not GET" in wrong.json()["error"]["message"]


def test_health_and_models(served: Served, llm: LLM) -> None:
    for path in ("/health", "/v1/health"):
        response = served.client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    model = served.client.get("/v1/models").json()["data"][0]
    assert model["id"] == model["root"] == "tiny"
    assert model["meta"]["n_ctx"] == CONTEXT
    assert model["meta"]["n_ctx_train"] == 2048
    assert model["meta"]["has_mtp"] is True
    assert model["meta"]["size"] == llm.model.path.stat().st_size
    assert model["meta"]["n_params"] > 1_000_000
    assert served.client.get("/v1/models/tiny").json()["id"] == "tiny"
    assert served.client.get("/v1/models/other").status_code == 404


def test_a_client_that_leaves_frees_its_slot(served: Served) -> None:
    body = {"prompt": PROMPT, "temperature": 0, "ignore_eos": True, "stream": True}
    with served.client.stream("POST", "/completion", json=body) as response:
        next(response.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        served.post("/completion", {**body, "stream": False}, timeout=0.005)
    worker = served.server.worker
    for _ in range(500):
        if not worker.answers:
            break
        served.client.get("/health")
    assert worker.answers == ()
    assert served.post("/completion", {"prompt": PROMPT, **GREEDY}).status_code == 200


def test_probabilities(served: Served, llm: LLM) -> None:
    body = {"prompt": PROMPT, **GREEDY, "n_probs": 3}
    answer = served.post("/completion", {**body, "return_tokens": True}).json()
    told = answer["completion_probabilities"]
    assert [one["id"] for one in told] == answer["tokens"]
    assert all(len(one["top_logprobs"]) == 3 for one in told)
    assert all(one["logprob"] == one["top_logprobs"][0]["logprob"] < 0 for one in told)
    assert "".join(one["token"] for one in told) == answer["content"]
    assert bytes(told[0]["bytes"]).decode() == told[0]["token"]
    events = served.events("/completion", {**body, "stream": True})
    streamed = [one for event in events for one in event.get("completion_probabilities", [])]
    assert streamed == told


def test_grammars(served: Served) -> None:
    body = {"prompt": PROMPT, **GREEDY, "n_predict": 40}
    digits = served.post("/completion", {**body, "grammar": 'root ::= [0-9] "x" [0-9]+'}).json()
    assert digits["content"][:1].isdigit()
    assert digits["content"][1:2] == "x"
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    with_drafts = served.post("/completion", {**body, "json_schema": schema}).json()
    without = served.post("/completion", {**body, "json_schema": schema, "speculative": False})
    assert json.loads(with_drafts["content"])["a"] in (True, False)
    assert with_drafts["content"] == without.json()["content"]
    assert with_drafts["stop_type"] == "eos"
    assert served.post("/completion", {**body, "grammar": ""}).json()["stop_type"] == "limit"


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"grammar": "root ::= ("}, "grammar", "grammar"),
        ({"json_schema": {"type": "nothing"}}, "json_schema", "nothing"),
        ({"json_schema": {}, "grammar": 'root ::= "a"'}, "grammar", "both"),
        ({"n_probs": 1000}, "n_probs", "n_probs is 1000"),
        ({"grammar": 'root ::= "a"', "ignore_eos": True}, "ignore_eos", "exclude"),
    ],
)
def test_grammars_that_are_none(
    served: Served, change: dict[str, object], param: str, words: str
) -> None:
    response = served.post("/completion", {"prompt": PROMPT, **change})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert words in response.json()["error"]["message"]


def test_an_event_for_every_token_where_it_is_set(model: Path, llm: LLM) -> None:
    alone = llm.generate(PROMPT, SamplingParams(temperature=0.0, max_tokens=24))
    stop = alone.text[8:11]
    with serving(loads(model), stream_per_token=True) as each:
        body = {"prompt": PROMPT, **GREEDY, "stream": True, "return_drafts": True}
        events = each.events("/completion", body)
        assert [event["tokens"] for event in events] == [[token] for token in alone.tokens]
        assert "".join(event["content"] for event in events) == alone.text
        assert sum(event["accepted"] for event in events) == alone.stats.draft_n_accepted
        stopped = each.events("/completion", {**body, "stop": [stop]})
        assert (
            "".join(event["content"] for event in stopped) == alone.text[: alone.text.index(stop)]
        )
        assert stopped[-1]["stopping_word"] == stop
        assert each.server.worker.answers == ()
