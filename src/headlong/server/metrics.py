"""Figures for Prometheus: ours, and again under vLLM's names, which benchmark tools read.

What the engine counts (speculation, cache) is read when somebody asks; what only the server sees
(latencies, ends of answers) is counted as the steps come in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headlong.cache.prefix import PrefixCacheReport
from headlong.engine.engine import Load
from headlong.llm import LLM
from headlong.server.answer import Answer
from headlong.server.worker import Delivery
from headlong.speculation import SpeculationStats

__all__ = ["EngineFigures", "Metrics", "engine_figures"]

K = TypeVar("K", Counter, Histogram)

_OURS: Final = "headlong_"
_VLLM: Final = "vllm:"

# What vLLM has under the same name after its prefix.
_SHARED: Final = frozenset(
    _OURS + name
    for name in (
        "spec_decode_num_drafts", "spec_decode_num_draft_tokens",
        "spec_decode_num_accepted_tokens", "spec_decode_num_accepted_tokens_per_pos",
        "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
        "prefix_cache_queries", "prefix_cache_hits", "prompt_tokens", "generation_tokens",
        "request_success", "time_to_first_token_seconds", "inter_token_latency_seconds",
        "e2e_request_latency_seconds", "request_queue_time_seconds",
        "request_prompt_tokens", "request_generation_tokens",
    )
)  # fmt: skip

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_GAPS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_TOKENS: Final = tuple(1 << power for power in range(0, 19, 2))


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What the engine knows, as of one moment between two steps."""

    stats: SpeculationStats
    load: Load
    prefixes: PrefixCacheReport | None


def engine_figures(llm: LLM) -> EngineFigures:
    """The figures of a model; to be called where no step runs."""
    stats = SpeculationStats()
    stats.add(llm.stats)
    return EngineFigures(stats, llm.load, llm.prefix_cache)


class Metrics:
    """Counts what happens, and writes it down.

    `observe` is to be one of the worker's observers; ``model`` is the label of every figure.
    """

    def __init__(self, model: str) -> None:
        # One word: readers split lines at white space.
        self._labels = {"model_name": "_".join(model.split()), "engine": "0"}
        self._registry = CollectorRegistry(auto_describe=False)
        self._started: dict[Answer, float] = {}
        self._last_tokens: dict[Answer, float] = {}
        self._prompt = self._counter("prompt_tokens", "Prompt tokens of finished answers.")
        self._generated = self._counter("generation_tokens", "Tokens generated.")
        self._ended = self._counter("request_success", "Answers by how they ended.",
                                    "finished_reason")  # fmt: skip
        self._http = self._counter("http_requests", "HTTP requests.", "path", "status")
        self._first = self._histogram("time_to_first_token_seconds", _SECONDS,
                                      "From the request to its first token.")  # fmt: skip
        self._gap = self._histogram("inter_token_latency_seconds", _GAPS,
                                    "Time per token after the first.")  # fmt: skip
        self._step = self._histogram("inter_step_seconds", _GAPS,
                                     "From one event of an answer to the next.")  # fmt: skip
        self._whole = self._histogram("e2e_request_latency_seconds", _SECONDS,
                                      "From the request to the end of its answer.")  # fmt: skip
        self._queue = self._histogram("request_queue_time_seconds", _SECONDS,
                                      "From the request to its first step.")  # fmt: skip
        self._prompts = self._histogram("request_prompt_tokens", _TOKENS,
                                        "Length of prompts.")  # fmt: skip
        self._answers = self._histogram("request_generation_tokens", _TOKENS,
                                        "Length of answers.")  # fmt: skip

    def observe(self, made: Sequence[Delivery]) -> None:
        """Count what a step made."""
        now = time.perf_counter()
        for one in made:
            answer = one.answer
            if one.chunks and answer not in self._started:
                self._started[answer] = now
                self._of(self._queue).observe(now - answer.submitted)
            tokens = sum(len(chunk.tokens) for chunk in one.chunks)
            if tokens:
                self._tokens(answer, tokens, now)
            if one.last:
                self._end(one, now)

    def http(self, path: str, status: int) -> None:
        """Count an HTTP request; ``path`` is the route's, not the client's."""
        self._http.labels(**self._labels, path=path, status=str(status)).inc()

    def text(self, engine: EngineFigures | None) -> bytes:
        """All figures in Prometheus' text format; without ``engine``, those of the server only."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Exported(self._registry, engine, self._labels))
        return generate_latest(registry)

    def _tokens(self, answer: Answer, tokens: int, now: float) -> None:
        self._of(self._generated).inc(tokens)
        last = self._last_tokens.get(answer)
        if last is None:
            self._of(self._first).observe(now - answer.submitted)
        else:
            self._of(self._step).observe(now - last)
            for _ in range(tokens):
                self._of(self._gap).observe((now - last) / tokens)
        self._last_tokens[answer] = now

    def _end(self, one: Delivery, now: float) -> None:
        answer = one.answer
        self._started.pop(answer, None)
        self._last_tokens.pop(answer, None)
        completion = one.chunks[-1].completion if one.chunks else None
        if completion is None:
            reason = "abort" if one.error is None else "error"
        else:
            reason = completion.finish_reason
            self._of(self._prompt).inc(len(completion.prompt_tokens))
            self._of(self._prompts).observe(len(completion.prompt_tokens))
            self._of(self._answers).observe(len(completion.tokens))
            self._of(self._whole).observe(now - answer.submitted)
        self._ended.labels(**self._labels, finished_reason=reason).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_OURS + name, text, [*self._labels, *labels], registry=self._registry)

    def _histogram(self, name: str, buckets: Sequence[float], text: str) -> Histogram:
        made = Histogram(
            _OURS + name, text, list(self._labels), registry=self._registry, buckets=buckets
        )
        made.labels(**self._labels)  # there from the start, at zero
        return made

    def _of(self, metric: K) -> K:
        return metric.labels(**self._labels)


class _Exported(Collector):
    """Everything, under our names and, where it has it, under vLLM's."""

    def __init__(
        self, counted: CollectorRegistry, engine: EngineFigures | None, labels: dict[str, str]
    ) -> None:
        self._counted = counted
        self._engine = engine
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        """The families."""
        for family in self._families():
            yield family
            if family.name in _SHARED:
                yield _renamed(family)

    def _families(self) -> Iterator[Metric]:
        for family in self._counted.collect():
            # When a series began is of no use here, and would look like one more figure.
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
        if self._engine is not None:
            yield from _of_engine(self._engine, self._labels)


def _of_engine(figures: EngineFigures, labels: dict[str, str]) -> Iterator[Metric]:
    names, values = list(labels), list(labels.values())

    def counter(name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(_OURS + name, text, labels=names)
        family.add_metric(values, value)
        return family

    def gauge(name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(_OURS + name, text, labels=names)
        family.add_metric(values, value)
        return family

    stats, load, prefixes = figures.stats, figures.load, figures.prefixes
    drafted, accepted = stats.draft_n_by_depth, stats.accepted_by_depth
    yield counter("spec_decode_num_rounds", "Verification rounds, drafted or not.", stats.rounds)
    yield counter("spec_decode_num_drafts", "Rounds with a draft.", drafted[0] if drafted else 0)
    yield counter("spec_decode_num_draft_tokens", "Tokens drafted.", stats.draft_n)
    yield counter("spec_decode_num_accepted_tokens", "Drafts accepted.", stats.draft_n_accepted)
    per_position = CounterMetricFamily(
        _OURS + "spec_decode_num_accepted_tokens_per_pos",
        "Drafts accepted by place in the draft, from 0.",
        labels=[*names, "position"],
    )
    for position, count in enumerate(accepted):
        per_position.add_metric([*values, str(position)], count)
    yield per_position
    yield gauge("num_requests_running", "Answers that have a slot.", load.running)
    yield gauge("num_requests_waiting", "Answers that wait for one.", load.waiting)
    yield gauge("slots", "Answers that can run at once.", load.slots)
    used = load.pages_used / load.pages if load.pages else 0.0
    yield gauge("kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", used)
    asked, found = (prefixes.asked_tokens, prefixes.found_tokens) if prefixes else (0, 0)
    yield counter("prefix_cache_queries", "Prompt tokens looked for in the prefix cache.", asked)
    yield counter("prefix_cache_hits", "Prompt tokens found in it.", found)


def _renamed(family: Metric) -> Metric:
    """The same family under vLLM's name."""
    name = _VLLM + family.name.removeprefix(_OURS)
    renamed = Metric(name, family.documentation, family.type)
    for sample in family.samples:
        renamed.add_sample(_VLLM + sample.name.removeprefix(_OURS), sample.labels, sample.value)
    return renamed
