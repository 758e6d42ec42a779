"""An engine that knows its answer beforehand, as a server of either dialect or as a command.

python fake_engine.py serve PORT DIALECT ANSWER     ANSWER: a JSON file of token ids
python fake_engine.py print PROMPT TOKENS ANSWER
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

BURST = 3
PROMPT_SECONDS, ROUND_SECONDS = 0.05, 0.02


def letter(token: int) -> str:
    return chr(ord("a") + token % 26)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # the end of the answer is the end of the connection
    dialect = "llama"
    answer: ClassVar[list[int]] = []

    def log_message(self, *args: object) -> None:
        print(*args, file=sys.stderr)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._say(200, {"data": [{"id": "fake"}]})
        elif self.path == "/health" and self.dialect.startswith("llama"):
            self._say(200, {"status": "ok"})
        else:
            self._say(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["ignore_eos"] is True
        assert all(isinstance(token, int) for token in body["prompt"])
        if self.dialect == "broken":
            self._say(500, {"error": "out of luck"})
        elif self.path == "/completion" and self.dialect.startswith("llama"):
            self._stream(self._llama(body["n_predict"]))
        elif self.path == "/v1/completions" and self.dialect.startswith("openai"):
            assert body["model"] == "fake"
            self._stream(self._openai(body["max_tokens"]))
        else:
            self._say(404, {})

    def _llama(self, count: int) -> Any:
        """One event for every token, those of a round at once."""
        ids = self.dialect != "llama-without-ids"
        for i, token in enumerate(self.answer[:count]):
            if i % BURST == 1:
                time.sleep(ROUND_SECONDS)
            yield {"content": letter(token), "stop": False} | ({"tokens": [token]} if ids else {})
        timings = {"draft_n": 9, "draft_n_accepted": 6}
        yield {"content": "", "tokens": [], "stop": True, "timings": timings}

    def _openai(self, count: int) -> Any:
        """One event for all tokens of a round."""
        ids = self.dialect != "openai-without-ids"
        rest = self.answer[1:count]
        rounds = [self.answer[:1], *(rest[i : i + BURST] for i in range(0, len(rest), BURST))]
        for i, tokens in enumerate(rounds):
            if i:
                time.sleep(ROUND_SECONDS)
            choice: dict[str, object] = {"text": "".join(map(letter, tokens))}
            yield {"choices": [choice | ({"token_ids": tokens} if ids else {})]}
        yield {"choices": [], "usage": {"completion_tokens": min(count, len(self.answer))}}

    def _stream(self, events: Any) -> None:
        self.send_response(200)
        self.end_headers()
        time.sleep(PROMPT_SECONDS)
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    mode, *rest = sys.argv[1:]
    answer = json.loads(Path(rest[-1]).read_text())
    if mode == "serve":
        Handler.dialect, Handler.answer = rest[1], answer
        HTTPServer(("127.0.0.1", int(rest[0])), Handler).serve_forever()
    prompt, count = json.loads(Path(rest[0]).read_text()), int(rest[1])
    assert prompt
    print("loading ...")
    print(json.dumps({"first_seconds": 0.5, "seconds": 2.0, "tokens": answer[:count]}))


if __name__ == "__main__":
    main()
