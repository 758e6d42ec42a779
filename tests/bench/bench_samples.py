"""Made-up arms, samples and records of known figures."""

from __future__ import annotations

from headlong.bench.provenance import make_record
from headlong.bench.record import Arm, Cache, DepthCount, HostFacts, Prompt, Record, Run, Sample

SHA = "0" * 63


def arm(name: str, draft: int | None = None, server: str = "here", **fields: object) -> Arm:
    values = {
        "name": name, "server": server, "mode": name, "draft": draft, "url": "http://127.0.0.1:1",
        "local": True, "kind": "headlong", "version": "headlong 1", "model": "m", "command": None,
        "body": {}, "about": {}, "dialect": "", "file": None, **fields,
    }  # fmt: skip
    return Arm.model_validate(values)


def prompt(name: str, number: int = 0, tokens: int = 101) -> Prompt:
    return Prompt(
        name=name, category=name, sha256=f"{SHA}{number}", max_tokens=tokens, exact_length=True,
        temperature=0.0, seed=42,
    )  # fmt: skip


def sample(
    arm: str,
    workload: str = "chat",
    rate: float = 10.0,
    *,
    ttft: float = 0.5,
    length: float = 1.0,
    tokens: int = 101,
    repeat: int = 0,
    stream: int = 0,
    turn: int = 0,
    concurrency: int = 1,
    cache: Cache = "cold",
    **fields: object,
) -> Sample:
    """An answer of `tokens` in steps of `length` at `rate` tokens per second after `ttft`."""
    steps = round((tokens - 1) / length)
    stamps = tuple(ttft + step * length / rate for step in range(steps + 1))
    latency = ttft + (tokens - 1) / rate
    accepted = tokens - 1 - steps
    values = {
        "arm": arm, "workload": workload, "sha256": f"{SHA}0", "concurrency": concurrency,
        "cache": cache, "repeat": repeat, "stream": stream, "turn": turn, "sent_at": 1e9 + turn,
        "problem": None, "t": stamps, "n": (1, *[round(length)] * steps), "text": "text",
        "finish_reason": "length", "counted_by": "usage", "tokens": tokens, "prompt_tokens": 50,
        "cached_tokens": 0, "ttft": ttft, "latency": latency, "decode_rate": rate,
        "e2e_rate": tokens / latency, "prefill_rate": 50 / ttft, "step_gap_p50": length / rate,
        "step_gap_p99": length / rate, "steps": steps, "tokens_per_step": length,
        "server_tokens_per_step": length if length > 1 else None,
        "draft_n": 2 * steps if length > 1 else None, "accepted": accepted if length > 1 else None,
        "by_depth": (), "joules": None, **fields,
    }  # fmt: skip
    return Sample.model_validate(values)


def host(**fields: object) -> HostFacts:
    values = {
        "processor": "Some Processor", "cores": 2, "isa": ("avx2",), "memory": 1 << 34,
        "system": "Linux", "governor": None, "container": None, "gpus": (), "bandwidth": 30.0,
        "energy_source": "not readable", "idle_watts": None, **fields,
    }  # fmt: skip
    return HostFacts.model_validate(values)


def run(**fields: object) -> Run:
    values = {
        "id": "20260101-000000-abc", "command": "speed", "name": "plan", "words": ("headlong",),
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:10:00Z", "complete": True,
        "seed": 42, "order": "A B B A by request", "headlong": "0.1.0", "python": "3.11.0",
        **fields,
    }  # fmt: skip
    return Run.model_validate(values)


def record(gain: float = 1.5, cost_free: float = 2.4, repeats: int = 5, **fields: object) -> Record:
    """Plain at 10 tok/s, drafts of 2 at `gain` times that with L = `cost_free`; two workloads."""
    arms = (arm("plain", 0), arm("n=2", 2))
    prompts = (prompt("chat"), prompt("code", 1))
    samples = []
    for repeat in range(repeats):
        for number, name in enumerate(("chat", "code")):
            wobble = 1 + 0.002 * repeat
            turn = 4 * repeat + 2 * number
            samples.append(sample("plain", name, 10 * wobble, repeat=repeat, turn=turn))
            depths = (
                DepthCount(depth=1, drafted=40, accepted=32),
                DepthCount(depth=2, drafted=40, accepted=24),
            )
            spec = {"length": cost_free, "ttft": 0.6, "by_depth": depths}
            rate = 10 * gain * wobble
            samples.append(sample("n=2", name, rate, repeat=repeat, turn=turn + 1, **spec))  # type: ignore[arg-type]
    return make_record(run(**fields), host(), arms, prompts, samples)
