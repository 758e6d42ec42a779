"""``/props``, ``/slots``, ``/metrics`` and the tokenizer's places."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import Served, serving
from serving_engines import CONTEXT, SLOTS, Held, loads

GREEDY = {"temperature": 0, "n_predict": 24}


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Served]:
    with serving(loads(model, cache_ram=8), alias=("tiny model",), api_key=("k1",)) as running:
        running.client.headers["Authorization"] = "Bearer k1"
        yield running


def figures(served: Served) -> dict[str, float]:
    response = served.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            extra = {k: v for k, v in sample.labels.items() if k not in ("model_name", "engine")}
            assert sample.labels["model_name"] == "tiny_model"
            found[sample.name + "".join(f"|{k}={v}" for k, v in extra.items())] = sample.value
    return found


def test_metrics_count_what_answers_say(served: Served) -> None:
    before = figures(served)
    answers = [
        served.post("/completion", {"prompt": prompt, **GREEDY}).json()
        for prompt in ("the end", "and the", [90] * 200, [90] * 200)
    ]
    after = figures(served)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    timings = [answer["timings"] for answer in answers]
    assert grown("headlong_spec_decode_num_draft_tokens_total") == sum(
        one["draft_n"] for one in timings
    )
    accepted = sum(one["draft_n_accepted"] for one in timings)
    assert grown("headlong_spec_decode_num_accepted_tokens_total") == accepted > 0
    name = "spec_decode_num_accepted_tokens_per_pos_total|position="
    assert sum(grown(f"headlong_{name}{depth}") for depth in range(3)) == accepted
    assert grown("headlong_generation_tokens_total") == 4 * 24
    assert grown("headlong_prompt_tokens_total") == sum(a["tokens_evaluated"] for a in answers)
    assert grown("headlong_request_success_total|finished_reason=length") == 4
    assert grown("headlong_time_to_first_token_seconds_count") == 4
    assert grown("headlong_inter_token_latency_seconds_count") == 4 * 23
    assert grown("headlong_http_requests_total|path=/completion|status=200") == 4
    assert grown("headlong_prefix_cache_hits_total") == sum(one["cache_n"] for one in timings) > 0
    assert after["headlong_num_requests_running"] == after["headlong_num_requests_waiting"] == 0
    assert 0 <= after["headlong_kv_cache_usage_perc"] <= 1
    assert not [name for name in after if "created" in name]
    for name in [name for name in after if name.startswith("vllm:")]:
        assert after[name] == after["headlong_" + name.removeprefix("vllm:")]


def test_vllms_reader_finds_the_acceptance(served: Served) -> None:
    served.post("/completion", {"prompt": "the end", **GREEDY})
    lines = served.client.get("/metrics").text.splitlines()
    drafts = [line for line in lines if line.startswith("vllm:spec_decode")]
    # `vllm bench serve` takes the last of two words of lines that end so.
    assert all(len(line.split()) == 2 and "_total{" in line for line in drafts)
    assert any('position="0"' in line for line in drafts)


def test_an_abandoned_answer_is_counted(served: Served) -> None:
    body = {"prompt": "the end", "temperature": 0, "ignore_eos": True, "stream": True}
    before = figures(served).get("headlong_request_success_total|finished_reason=abort", 0)
    with served.client.stream("POST", "/completion", json=body) as response:
        next(response.iter_lines())
    for _ in range(500):
        if figures(served).get("headlong_request_success_total|finished_reason=abort") == (
            before + 1
        ):
            return
    pytest.fail("the answer that was left is not counted")


def test_props_show_the_settings_without_keys(served: Served) -> None:
    response = served.client.get("/props")
    props = response.json()
    assert props["total_slots"] == SLOTS
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    assert "<|im_start|>" in props["chat_template"]
    assert props["speculative"] == {"has_mtp": True, "n_max": "auto", "longest": 3}
    assert props["settings"]["port"]["value"] == 0
    assert "k1" not in response.text
    assert props["model_path"] == "chain.gguf"


def test_slots_while_answers_run(model: Path) -> None:
    engine = Held(loads(model))
    with serving(engine) as served:
        idle = served.client.get("/slots").json()
        assert [slot["is_processing"] for slot in idle] == [False] * SLOTS
        body = {"prompt": [90] * 100, **GREEDY}
        asking = threading.Thread(target=served.post, args=("/completion", body))
        asking.start()
        engine.allow(1)
        slots: list[dict[str, object]] = []
        for _ in range(1000):
            slots = [s for s in served.client.get("/slots").json() if s["is_processing"]]
            if slots:
                break
        assert slots[0]["n_prompt_tokens"] == 100
        assert slots[0]["n_prompt_tokens_processed"] == 64
        assert "prompt" not in slots[0]
        assert served.client.get("/slots?fail_on_no_slot=true").status_code == 200
        engine.let_go()
        asking.join(10)


def test_no_slot_is_free(model: Path) -> None:
    engine = Held(loads(model, sequences=1))
    with serving(engine) as served, httpx.Client(base_url=served.url) as other:
        body = {"prompt": [90] * 100, **GREEDY}
        asking = threading.Thread(target=other.post, args=("/completion",), kwargs={"json": body})
        asking.start()
        engine.allow(1)
        for _ in range(1000):
            response = served.client.get("/slots?fail_on_no_slot=1")
            if response.status_code == 503:
                break
        assert response.json()["error"]["code"] == "no_slot"
        engine.let_go()
        asking.join(10)


def test_tokens_and_back(served: Served) -> None:
    text = "the end<|im_end|>é"
    whole = served.post("/tokenize", {"content": text}).json()
    plain = served.post("/tokenize", {"content": text, "parse_special": False}).json()
    assert whole["count"] == len(whole["tokens"]) < plain["count"]
    assert served.post("/tokenize", {"prompt": text}).json() == whole
    for tokens in (whole["tokens"], plain["tokens"]):
        assert served.post("/detokenize", {"tokens": tokens}).json()["content"] == text
    pieces = served.post("/tokenize", {"content": text, "with_pieces": True}).json()["tokens"]
    assert [piece["id"] for piece in pieces] == whole["tokens"]
    assert [piece["piece"] for piece in pieces][-2:] == [[0xC3], [0xA9]]
    mixed = served.post("/tokenize", {"content": ["the end", *whole["tokens"][-3:]]}).json()
    assert mixed["tokens"] == whole["tokens"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": "x", "prompt": "x"}, "content"),
        ("/tokenize", {"content": [99999]}, "content"),
        ("/tokenize", {"contents": "x"}, "contents"),
        ("/detokenize", {"tokens": [99999]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/detokenize", {}, "tokens"),
        ("/apply-template", {"messages": [{"role": "user"}]}, "messages.0"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/apply-template", {"messages": [{"role": "user", "content": "x"}],
                             "chat_template_kwargs": {"colour": 1}}, "chat_template_kwargs"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(
    served: Served, path: str, body: dict[str, object], param: str
) -> None:
    response = served.post(path, body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_conversation_as_a_prompt(served: Served) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    prompt = served.post("/apply-template", body).json()["prompt"]
    assert prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
