"""The engine's thread: answers, cancellation, limits, faults, the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
from serving_engines import CONTEXT, SLOTS, Held, loads, working

from headlong import LLM, SamplingParams
from headlong.engine.requests import Chunk
from headlong.errors import ContextError, GGUFError, HeadlongError, ParameterError
from headlong.progress import Progress
from headlong.server.answer import Answer
from headlong.server.refusals import Broken, Expired, NotReady, QueueFull, ShuttingDown
from headlong.server.worker import Delivery, Limits, State, Worker

T = TypeVar("T")
PROMPT = [70, 71, 72, 73]
LONG = SamplingParams(temperature=0.0, max_tokens=200)
SHORT = SamplingParams(temperature=0.0, max_tokens=20)


def run(coroutine: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def read(answer: Answer) -> list[Chunk]:
    return [chunk async for chunk in answer]


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.002)


def test_answers_are_those_of_the_library(model: Path) -> None:
    prompts = [PROMPT, [80, 81], [90] * 150, [75, 74], [101, 99]]

    async def serve() -> list[list[Chunk]]:
        async with working(loads(model)) as worker:
            answers = [worker.submit(prompt, SHORT) for prompt in prompts]
            return list(await asyncio.gather(*map(read, answers)))

    served = run(serve())
    alone = LLM(model, context=CONTEXT, threads=1).batch(prompts, SHORT)
    for chunks, completion in zip(served, alone, strict=True):
        last = chunks[-1].completion
        assert last is not None
        assert last.text == completion.text == "".join(chunk.text for chunk in chunks)
        assert sum(chunk.accepted for chunk in chunks) == last.stats.draft_n_accepted
    read_so_far = [chunk.prompt_done for chunk in served[2]]
    assert read_so_far == sorted(read_so_far)
    assert read_so_far[0] <= 64 < read_so_far[1] < 150 == read_so_far[2]


def test_a_step_comes_in_one_call(model: Path) -> None:
    made: list[list[Answer]] = []

    async def serve() -> None:
        engine = Held(loads(model))
        async with working(engine) as worker:
            worker.observers.append(lambda step: made.append([one.answer for one in step]))
            answers = [worker.submit(PROMPT, SHORT) for _ in range(2)]
            engine.let_go()
            await asyncio.gather(*map(read, answers))
            assert [len(set(step)) for step in made] == [len(step) for step in made]
            assert max(map(len, made)) == 2

    run(serve())


def test_what_cannot_run_is_refused_at_once(model: Path) -> None:
    async def serve() -> None:
        async with working(loads(model)) as worker:
            with pytest.raises(ContextError, match=f"600 tokens .* {CONTEXT}"):
                worker.submit([1] * 600, SHORT)
            with pytest.raises(ParameterError, match="holds no tokens"):
                worker.submit([], SHORT)
            with pytest.raises(ParameterError, match="outside 0"):
                worker.submit([100_000], SHORT)
            with pytest.raises(ParameterError, match="logit_bias names the token 5000"):
                worker.submit(PROMPT, SamplingParams(logit_bias={5000: 1.0}))
            with pytest.raises(ParameterError, match="100 answers at once"):
                worker.submit_all([(PROMPT, SHORT)] * 100)
            assert worker.answers == ()

    run(serve())


def test_the_queue_is_bounded_and_admits_all_or_none(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model))
        async with working(engine, Limits(queue=2)) as worker:
            answers = [worker.submit(PROMPT, LONG) for _ in range(SLOTS + 1)]
            with pytest.raises(QueueFull, match="3 answers run or wait") as refused:
                worker.submit_all([(PROMPT, SHORT)] * 2)
            assert refused.value.retry_after >= 1
            answers.append(worker.submit(PROMPT, SHORT))
            with pytest.raises(QueueFull):
                worker.submit(PROMPT, SHORT)
            engine.allow(2)
            await until(lambda: worker.running == SLOTS)
            assert worker.waiting == 2
            answers[0].cancel()
            answers.append(worker.submit(PROMPT, SHORT))
            engine.let_go()
            for answer in answers[1:]:
                assert (await read(answer))[-1].completion is not None
            assert worker.answers == ()

    run(serve())


def test_leaving_frees_the_slot_while_the_prompt_is_read(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model, sequences=1))
        async with working(engine) as worker:
            slots = worker.llm.requests._engine._cache
            first = worker.submit([90] * 400, LONG)
            engine.allow(2)
            async with first:
                assert (await anext(first)).prompt_done == 64
            second = worker.submit(PROMPT, SHORT)
            engine.let_go()
            assert (await read(second))[-1].completion is not None
            assert slots.free_slots == 1
            assert all(chunk.prompt_done <= 128 for chunk in await read(first))

    run(serve())


def test_several_answers_read_together(model: Path) -> None:
    async def serve() -> None:
        async with (
            working(loads(model)) as worker,
            worker.submit_all([(PROMPT, SHORT), ([80, 81], SHORT), (PROMPT, SHORT)]) as answers,
        ):
            texts = ["", "", ""]
            ends = []
            async for index, chunk in answers:
                texts[index] += chunk.text
                if chunk.completion is not None:
                    assert chunk.completion.text == texts[index]
                    ends.append(index)
            assert sorted(ends) == [0, 1, 2]
            assert texts[0] == texts[2] != texts[1]

    run(serve())


def test_a_broken_step_ends_what_ran_and_nothing_else(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        engine = Held(loads(model))
        async with working(engine) as worker:
            answers = [worker.submit(PROMPT, LONG) for _ in range(SLOTS + 1)]
            engine.allow(3)
            await until(lambda: worker.running == SLOTS)
            engine.broken = True
            engine.let_go()
            for answer in answers:
                with pytest.raises(Broken, match="incident") as error:
                    await read(answer)
                assert "secret" not in str(error.value)
                assert str(error.value.incident) in caplog.text
            engine.broken = False
            completion = (await read(worker.submit(PROMPT, SHORT)))[-1].completion
            assert completion is not None
            assert completion.finish_reason == "length"

    with caplog.at_level(logging.ERROR):
        run(serve())
    assert "/a/secret/path" in caplog.text


def test_waiting_and_running_have_limits(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model, sequences=1))
        limits = Limits(queue_seconds=0.15, request_seconds=0.3)
        async with working(engine, limits) as worker:
            running, queued = worker.submit(PROMPT, LONG), worker.submit(PROMPT, LONG)
            engine.allow(2)
            with pytest.raises(Expired, match=r"waited 0\.15 seconds") as late:
                await read(queued)
            assert late.value.queued
            with pytest.raises(Expired, match=r"longer than 0\.3 seconds") as slow:
                await read(running)
            assert not slow.value.queued
            assert worker.answers == ()
            engine.let_go()
            assert (await read(worker.submit(PROMPT, SHORT)))[-1].completion is not None

    run(serve())


def test_draining_lets_answers_finish(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model))
        async with working(engine) as worker:
            answer = worker.submit(PROMPT, SHORT)
            drained = asyncio.create_task(worker.drain(10))
            await until(lambda: worker.state is State.DRAINING)
            with pytest.raises(ShuttingDown, match="shutting down"):
                worker.submit(PROMPT, SHORT)
            assert not drained.done()
            engine.let_go()
            assert (await read(answer))[-1].completion is not None
            assert await drained

    run(serve())


def test_what_does_not_finish_in_time_is_told(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model))
        async with working(engine) as worker:
            answer = worker.submit(PROMPT, LONG)
            engine.allow(2)
            assert not await worker.drain(0.05)
            worker.stop()
            engine.let_go()
            with pytest.raises(ShuttingDown, match="ended early"):
                await read(answer)
            with pytest.raises(NotReady):
                worker.submit(PROMPT, SHORT)

    run(serve())


def test_loading_is_seen_and_requests_wait_for_it(model: Path) -> None:
    async def serve() -> None:
        seen: list[float] = []
        worker = Worker(loads(model))

        def look(progress: Progress) -> LLM:
            llm = loads(model)(progress)
            seen.append(worker.loading.fraction)
            return llm

        worker._load = look
        worker.start()
        with pytest.raises(NotReady, match="being loaded"):
            worker.submit(PROMPT, SHORT)
        await worker.loaded()
        assert worker.state is State.READY
        assert 0.9 <= seen[0] <= worker.loading.fraction == 1
        worker.stop()
        assert await asyncio.to_thread(worker.join, 10)

    run(serve())


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    async def serve() -> None:
        worker = Worker(loads(tmp_path / "nothing.gguf"))
        worker.start()
        with pytest.raises(GGUFError, match=r"nothing\.gguf"):
            await worker.loaded()
        assert worker.state is State.FAILED
        with pytest.raises(NotReady, match="could not be loaded"):
            worker.submit(PROMPT, SHORT)
        assert await asyncio.to_thread(worker.join, 10)

    run(serve())


def test_stopping_breaks_loading_off(model: Path) -> None:
    async def serve() -> None:
        worker = Worker(loads(model))
        worker.loading.stop()
        worker.start()
        with pytest.raises(ShuttingDown, match="while the model was being loaded"):
            await worker.loaded()
        assert await asyncio.to_thread(worker.join, 10)

    run(serve())


def test_an_error_comes_after_what_was_made() -> None:
    async def take() -> None:
        news = asyncio.Event()
        answer = Answer(PROMPT, SHORT, special=False, news=news, leave=lambda answer: None)
        answer.deliver([Chunk("a", (1,), 0, 4)], None, last=False)
        answer.deliver([Chunk("b", (2,), 0, 4)], HeadlongError("it failed"), last=True)
        answer.deliver([Chunk("c", (3,), 0, 4)], None, last=True)  # nothing follows the last
        assert (await anext(answer)).text == "a"
        assert (await anext(answer)).text == "b"
        with pytest.raises(HeadlongError, match="it failed"):
            await anext(answer)
        with pytest.raises(StopAsyncIteration):
            await anext(answer)

    run(take())


def test_nothing_is_heard_of_an_answer_after_its_last(model: Path) -> None:
    async def serve() -> None:
        engine = Held(loads(model))
        heard: list[tuple[Answer, bool]] = []
        async with working(engine) as worker:
            worker.observers.append(lambda made: heard.extend((m.answer, m.last) for m in made))
            engine.let_go()
            for steps in range(12):
                answer = worker.submit(PROMPT, LONG)
                async with answer:
                    for _ in range(steps):
                        await anext(answer)
                await asyncio.sleep(0.002)
            assert (await read(worker.submit(PROMPT, SHORT)))[-1].completion is not None
        ended: set[Answer] = set()
        for answer, last in heard:
            assert answer not in ended
            ended |= {answer} if last else set()
        assert len(ended) == 13

    run(serve())


def test_deliveries_say_what_they_are() -> None:
    one = Delivery(Answer([1], SHORT, special=False, news=asyncio.Event(), leave=print), (), None,
                   last=False)  # fmt: skip
    with pytest.raises(AttributeError):
        one.last = True  # type: ignore[misc]
