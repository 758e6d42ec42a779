"""What models say of their own accord, and what goes wrong, through the app and the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion
from scripted import ARGUMENTS, CALL, TOOL_TEMPLATE, TOOLS, chunks_of_text
from scripted_worker import ScriptedWorker

from headlong import LLM
from headlong.server.app import create_app
from headlong.server.refusals import Broken
from headlong.server.service import Service
from headlong.server.settings import ServerSettings
from headlong.tools.demo import bundled_model

MESSAGES: Any = [{"role": "user", "content": "How is the weather?"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with bundled_model() as path:
        yield LLM(path, context=512, sequences=1, threads=1, draft_n_max=3)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "tools.jinja"
    path.write_text(TOOL_TEMPLATE)
    return path


class Table:
    """A worker, and a client of the app around it."""

    def __init__(self, worker: ScriptedWorker, client: openai.AsyncOpenAI) -> None:
        self.worker = worker
        self.client = client

    async def ask(self, **fields: Any) -> ChatCompletion:
        answer = await self.client.chat.completions.create(
            model="m", messages=MESSAGES, tools=TOOLS, **fields
        )
        assert isinstance(answer, ChatCompletion)
        return answer

    async def events(self, **fields: Any) -> list[dict[str, Any]]:
        given: dict[str, Any] = {"tools": TOOLS, **fields}
        events = await self.client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, **given
        )
        return [event.to_dict() async for event in events]


@pytest.fixture
def run(llm: LLM, template: Path) -> Callable[..., None]:
    """Runs a test's coroutine at a table."""

    def at_table(test: Callable[[Table], Coroutine[Any, Any, None]], **settings: Any) -> None:
        async def sit() -> None:
            async with table(llm, template, **settings) as it:
                await test(it)

        asyncio.run(sit())

    return at_table


@asynccontextmanager
async def table(llm: LLM, template: Path, **settings: Any) -> AsyncIterator[Table]:
    worker = ScriptedWorker(llm)
    app = create_app(Service(worker, ServerSettings(chat_template_file=template, **settings)))
    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(
            base_url="http://127.0.0.1:8080/v1", api_key="none", max_retries=0, http_client=http
        ) as client,
    ):
        yield Table(worker, client)


Run = Callable[..., None]


@pytest.mark.parametrize("per_step", [1, 4, 1000])
def test_calls_of_their_own_accord(run: Run, per_step: int) -> None:
    async def test(it: Table) -> None:
        text = f"I will look.\n{CALL}\n{CALL}"
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, text, per_step=per_step)
        (choice,) = (await it.ask()).choices
        assert choice.message.content == "I will look."
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.tool_calls or []
        assert [call.to_dict()["function"] for call in calls] == [
            {"name": "weather", "arguments": ARGUMENTS}
        ] * 2
        assert len({call.id for call in calls}) == 2
        choices = [choice for event in await it.events() for choice in event["choices"]]
        assert "".join(c["delta"].get("content") or "" for c in choices) == "I will look."
        assert choices[-1]["finish_reason"] == "tool_calls"
        pieces = [p for c in choices for p in c["delta"].get("tool_calls", ())]
        assert [p["index"] for p in pieces if "id" in p] == [0, 1]
        for index in (0, 1):
            own = [p["function"]["arguments"] for p in pieces if p["index"] == index]
            assert "".join(own) == ARGUMENTS

    run(test)


def test_one_call_if_only_one_may_be(run: Run) -> None:
    async def test(it: Table) -> None:
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, f"{CALL}\n{CALL}")
        choice = (await it.ask(parallel_tool_calls=False)).choices[0]
        assert len(choice.message.tool_calls or []) == 1

    run(test)


def test_a_call_that_breaks_off(run: Run) -> None:
    async def test(it: Table) -> None:
        text = CALL[: CALL.index("ris")]
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, text, finish_reason="length")
        choice = (await it.ask()).choices[0]
        assert choice.finish_reason == "length"
        (call,) = choice.message.tool_calls or []
        assert call.to_dict()["function"] == {"name": "weather", "arguments": '{"city": "Pa'}

    run(test)


def test_the_clients_helper_puts_a_call_together(run: Run) -> None:
    async def test(it: Table) -> None:
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, CALL, per_step=2)
        tools: Any = TOOLS
        async with it.client.chat.completions.stream(
            model="m", messages=MESSAGES, tools=tools
        ) as events:
            async for event in events:
                assert event.type != "error"
            final = await events.get_final_completion()
        (call,) = final.choices[0].message.tool_calls or []
        assert json.loads(call.function.arguments) == {"city": "Paris", "days": 3}

    run(test)


@pytest.mark.parametrize("setting", ["deepseek", "none"])
def test_where_reasoning_goes_is_a_setting(run: Run, setting: str) -> None:
    async def test(it: Table) -> None:
        text = "It is late.\n</think>\n\nGood night."
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, text)
        extra = {"chat_template_kwargs": {"enable_thinking": True}}
        answer = await it.ask(extra_body=extra)
        message = answer.choices[0].message.to_dict()
        if setting == "none":
            assert message["content"] == text
            assert "reasoning_content" not in message
        else:
            assert message["content"] == "Good night."
            assert message["reasoning_content"] == "It is late."
        assert answer.usage is not None
        assert answer.usage.completion_tokens_details is not None
        counted = answer.usage.completion_tokens_details.reasoning_tokens
        thought = it.worker.llm.tokenizer.encode("It is late.\n</think>", add_bos=False)
        assert counted == len(thought)
        # A request may say otherwise.
        said = await it.ask(extra_body={**extra, "reasoning_format": "none"})
        assert said.choices[0].message.content == text

    run(test, reasoning_format=setting)


def test_what_the_engine_is_asked(run: Run) -> None:
    async def test(it: Table) -> None:
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, "Hi")
        await it.ask(
            n=3, seed=2**64 - 2, temperature=0.5, top_p=0.5, max_completion_tokens=7, stop="x",
            frequency_penalty=0.5, logit_bias={"5": -100, "6": 3}, logprobs=True, top_logprobs=2,
            extra_body={"top_k": 3, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1,
                        "repeat_last_n": 5, "min_tokens": 2, "ignore_eos": True,
                        "speculative": {"n_max": 1}, "cache_prompt": False},
        )  # fmt: skip
        each = [params for _, params in it.worker.submitted]
        assert [params.seed for params in each] == [2**64 - 2, 2**64 - 1, 0]
        assert len({tuple(tokens) for tokens, _ in it.worker.submitted}) == 1
        params = each[0]
        assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.5, 3, 0.1)
        assert (params.typical_p, params.repeat_penalty, params.repeat_last_n) == (0.9, 1.1, 5)
        assert (params.max_tokens, params.min_tokens, params.ignore_eos) == (7, 2, True)
        assert params.bias_pairs == ((5, float("-inf")), (6, 3.0))
        assert (params.stop, params.frequency_penalty, params.logprobs) == (("x",), 0.5, 2)
        assert (params.draft_n_max, params.cache_prompt, params.grammar) == (1, False, None)
        await it.ask()
        assert it.worker.submitted[-1][1].seed is None
        assert it.worker.submitted[-1][1].temperature == 0.8

    run(test)


def test_a_full_server(run: Run) -> None:
    async def test(it: Table) -> None:
        it.worker.full = True
        with pytest.raises(openai.RateLimitError) as caught:
            await it.ask()
        assert caught.value.response.headers["retry-after"] == "3"

    run(test)


def test_an_error_in_the_middle(run: Run) -> None:
    async def test(it: Table) -> None:
        whole = chunks_of_text(it.worker.llm.tokenizer, "Hello there, you.", per_step=1)
        it.worker.script = whole[:4]
        it.worker.error = Broken("c0ffee")
        with pytest.raises(openai.InternalServerError) as caught:
            await it.ask()
        assert "c0ffee" in caught.value.message
        with pytest.raises(openai.APIError) as broken:
            await it.events()
        assert "c0ffee" in broken.value.message
        assert it.worker.left == 2

    run(test)


def test_every_answer_is_left_in_the_end(run: Run) -> None:
    async def test(it: Table) -> None:
        it.worker.script = chunks_of_text(it.worker.llm.tokenizer, "Hello")
        await it.events(n=3)
        await it.ask(n=2)
        assert it.worker.left == 5

    run(test)
