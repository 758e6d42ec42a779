"""A stand-in for the server: what the chat page relies on, with answers that a test can choose.

Text and figures are made up, but they keep the promises that the page shows: the text depends on
the messages and the seed alone, and drafts change only how many tokens an event brings.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headlong.server.page import chat_page

TOKEN = re.compile(r"\s*\w{1,7}|\s*[^\w\s]|\s+")

WORDS = ("river", "stone", "winter", "light", "over", "under", "runs", "slowly", "while", "the")


@dataclass
class Behaviour:
    """What the stand-in does, changed by a test while it runs."""

    model: str = "stand-in-2B-Q4_K_M"
    has_mtp: bool = True
    longest_draft: int = 7
    progress: float | None = None  # of loading; None: loaded
    key: str | None = None
    refusals: list[tuple[int, dict[str, str], dict[str, str]]] = field(default_factory=list)
    break_after: int | None = None  # events until the connection is dropped
    broken_by: dict[str, str] | None = None  # or, before that, an event with this error
    lossless: bool = True
    pass_seconds: float = 0.004
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By the last message: reasoning and content."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    gone: int = 0  # clients that left in the middle of an answer


class StandIn(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.behaviour = Behaviour()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that closes a connection is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    @property
    def behaviour(self) -> Behaviour:
        return self.server.behaviour

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path == "/":
            page = chat_page()
            headers = {"Content-Security-Policy": page.content_security_policy, "ETag": page.etag}
            self.answer(200, page.html, "text/html; charset=utf-8", headers)
        elif self.path == "/health":
            progress = self.behaviour.progress
            if progress is None:
                self.json(200, {"status": "ok"})
            else:
                self.json(503, {"status": "loading", "progress": progress})
        elif self.refused():
            return
        elif self.path == "/props":
            params = {
                "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05,
                "repeat_penalty": 1.0, "max_tokens": -1, "seed": -1,
            }  # fmt: skip
            drafts = {"longest": self.behaviour.longest_draft}
            settings = {"n_ctx": 8192, "params": params}
            self.json(200, {"default_generation_settings": settings, "speculative": drafts})
        elif self.path == "/v1/models":
            meta = {"n_ctx": 8192, "has_mtp": self.behaviour.has_mtp, "rehearsal": False}
            self.json(200, {"object": "list", "data": [{"id": self.behaviour.model, "meta": meta}]})
        else:
            self.json(404, {"error": {"message": f"no route {self.path}"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        self.behaviour.requests.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for count, event in enumerate(self.events(body)):
                if count == self.behaviour.break_after:
                    if self.behaviour.broken_by:
                        event = json.dumps({"error": self.behaviour.broken_by})
                        self.wfile.write(f"data: {event}\n\ndata: [DONE]\n\n".encode())
                    return
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.behaviour.gone += 1

    def refused(self) -> bool:
        given = self.headers.get("Authorization")
        if self.behaviour.key is not None and given != f"Bearer {self.behaviour.key}":
            self.json(401, {"error": {"message": "no key", "type": "authentication_error"}})
            return True
        if self.command == "POST" and self.behaviour.refusals:
            status, error, headers = self.behaviour.refusals.pop(0)
            self.json(status, {"error": error}, headers)
            return True
        return False

    def json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        self.answer(status, json.dumps(value).encode(), "application/json", headers or {})

    def answer(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # --- answers -----------------------------------------------------------------------------

    def events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of an answer, one for each engine step, as long as a pass takes each."""
        last = body["messages"][-1]["content"]
        reasoning, content = self.behaviour.answers.get(last, ("", default_answer(body)))
        limit = (body.get("speculative") or {}).get("n_max", 3)
        if not self.behaviour.lossless and limit > 0:
            content = content[:-2] + "!?"
        pieces = split_tokens(reasoning, content)[: body.get("max_tokens", 10**9)]
        chance = random.Random(last)
        tally = Tally(time.monotonic())
        yield {"prompt_progress": {"total": 40, "cache": 0, "processed": 40, "time_ms": 9}}
        sent = 0
        while sent < len(pieces):
            accepted = 0
            if sent > 0:
                drafted = min(limit, len(pieces) - sent - 1)
                while accepted < drafted and chance.random() < 0.9 - 0.12 * accepted:
                    accepted += 1
                tally.count(drafted, accepted)
            time.sleep(self.behaviour.pass_seconds * (1 + 0.15 * limit))
            step = pieces[sent : sent + accepted + 1]
            sent += len(step)
            tally.tokens = sent
            yield self.chunk(body, delta_of(step), step, accepted, tally)
        yield {
            "model": self.behaviour.model,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "timings": tally.timings(),
        }
        usage = {"prompt_tokens": 40, "completion_tokens": sent, "total_tokens": 40 + sent}
        yield {"choices": [], "usage": usage, "timings": tally.timings()}

    @staticmethod
    def chunk(
        body: dict[str, Any],
        delta: dict[str, str],
        step: list[tuple[str, str]],
        accepted: int,
        tally: Tally,
    ) -> dict[str, Any]:
        event: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        if body.get("return_drafts"):
            texts = [text for _, text in step]
            event["drafts"] = {"accepted": accepted, "tokens": len(step), "pieces": texts}
        if body.get("timings_per_token"):
            event["timings"] = tally.timings()
        return event


@dataclass
class Tally:
    """Counts of one answer, as the server reports them."""

    began: float
    tokens: int = 0
    rounds: int = 0
    depths: list[list[int]] = field(default_factory=list)

    def count(self, drafted: int, accepted: int) -> None:
        self.rounds += 1
        for depth in range(drafted):
            if depth == len(self.depths):
                self.depths.append([0, 0])
            self.depths[depth][0] += 1
            self.depths[depth][1] += depth < accepted

    def timings(self) -> dict[str, Any]:
        seconds = max(time.monotonic() - self.began, 1e-6)
        drafted = sum(depth[0] for depth in self.depths)
        return {
            "prompt_n": 40,
            "predicted_n": self.tokens,
            "predicted_ms": 1000 * seconds,
            "predicted_per_second": self.tokens / seconds,
            "draft_n": drafted,
            "draft_n_accepted": sum(depth[1] for depth in self.depths),
            "draft_rounds": self.rounds if drafted else 0,
            "tokens_per_round": (self.tokens - 1) / self.rounds if self.rounds else 0,
            "acceptance_by_depth": [
                {"depth": i + 1, "drafted": drafted, "accepted": accepted}
                for i, (drafted, accepted) in enumerate(self.depths)
            ],
        }


def split_tokens(reasoning: str, content: str) -> list[tuple[str, str]]:
    """(where it is shown, text) of each token; the end of reasoning is shown nowhere."""
    tokens = [("reasoning_content", text) for text in TOKEN.findall(reasoning)]
    if reasoning:
        tokens += [("", "</think>"), ("", "\n\n")]
    return tokens + [("content", text) for text in TOKEN.findall(content)]


def delta_of(step: list[tuple[str, str]]) -> dict[str, str]:
    delta: dict[str, str] = {}
    for part, text in step:
        if part:
            delta[part] = delta.get(part, "") + text
    return delta


def default_answer(body: dict[str, Any]) -> str:
    """Some words that depend on the messages and the seed."""
    said = json.dumps([body["messages"], body["seed"]])
    chance = random.Random(hashlib.sha256(said.encode()).hexdigest())
    return " ".join(chance.choice(WORDS) for _ in range(60)) + "."
