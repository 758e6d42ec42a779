"""llama.cpp's answers for a GGUF file and token ids, by way of the `xllamacpp` wheel."""

from __future__ import annotations

import http.client
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

MISSING = importlib.util.find_spec("xllamacpp") is None
REASON = "xllamacpp is not installed: pip install 'headlong[oracle]'"

# Sampling in llama.cpp always picks something; a bias this large makes it this token, whose text
# is one whole character, because llama.cpp reports no probabilities for a piece of a character.
_ASCII_TOKEN = 32
_CERTAIN = 1e6

_TIMEOUT_SECONDS = 60.0

Doubles = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class OracleError(Exception):
    """llama.cpp refused the file or died; the message holds what it printed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How llama.cpp runs a model. The defaults keep everything as exact as it can."""

    context: int = 1024
    ubatch: int = 512
    """Most rows in one pass."""
    threads: int = 1
    kv_type: str = "F32"
    flash_attention: bool = False
    repack: bool = False
    """Let llama.cpp rearrange weights at load for its faster kernels."""
    draft: int = 0
    """Draft length of the MTP head; 0 turns speculation off."""
    hidden: bool = False
    """Serve hidden states; a model opened so gives no text."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """A greedy continuation and how it was speculated."""

    tokens: tuple[int, ...]
    drafted: int = 0
    accepted: int = 0


class Model:
    """One GGUF file, opened by llama.cpp."""

    def __init__(self, worker: Worker, name: int, port: int) -> None:
        self._worker, self._name, self._port = worker, name, port

    def greedy(self, prompt: Sequence[int], count: int) -> Greedy:
        """The `count` most likely tokens after `prompt`, each given those before; never ends early.

        The tokens that would end generation are ruled out, as llama.cpp's `ignore_eos` does.
        """
        answer = self._post(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": count,
                "samplers": ["top_k"],
                "top_k": 1,
                "ignore_eos": True,
                "return_tokens": True,
                "cache_prompt": False,
            },
        )
        timings = answer["timings"]
        return Greedy(
            tuple(answer["tokens"]), timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
        )

    def forced(self, prompt: Sequence[int], tokens: Sequence[int]) -> Greedy:
        """Make the trunk say `tokens`, whatever it prefers, while the head drafts as it likes.

        A draft is then accepted exactly where it equals `tokens`. The tokens must be whole
        characters (`TinyVocab.printable`): llama.cpp's grammars track UTF-8. Only the first
        request of a model tells about drafts: in later ones llama.cpp joins the first prompt
        token with the hidden state that the request before left behind, instead of with zeros.
        """
        answer = self._post(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": len(tokens),
                "samplers": ["top_k"],
                "top_k": 1,
                "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
                "return_tokens": True,
                "cache_prompt": False,
            },
        )
        timings = answer["timings"]
        return Greedy(
            tuple(answer["tokens"]), timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
        )

    def log_probs(self, prompt: Sequence[int], vocab: int) -> Doubles:
        """Natural log-probabilities [vocab] of the token after `prompt`, by id."""
        answer = self._post(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": 1,
                "n_probs": vocab,
                "logit_bias": [[_ASCII_TOKEN, _CERTAIN]],
                "cache_prompt": False,
            },
        )
        listed = answer["completion_probabilities"][0]["top_logprobs"]
        result = np.full(vocab, -np.inf)
        result[[entry["id"] for entry in listed]] = [entry["logprob"] for entry in listed]
        return result

    def all_log_probs(self, tokens: Sequence[int], vocab: int, first: int = 1) -> Doubles:
        """`log_probs` after each prefix of at least `first` tokens, [prefixes, vocab].

        Every prefix is computed anew, as a prompt.
        """
        lengths = range(first, len(tokens) + 1)
        return np.stack([self.log_probs(tokens[:length], vocab) for length in lengths])

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; with `special`, control tokens in it stand for themselves."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return list(self._post("/tokenize", body)["tokens"])

    def apply_template(self, messages: Sequence[Mapping[str, object]], **more: object) -> str:
        """The prompt that the file's chat template makes of a conversation."""
        return str(self._post("/apply-template", {"messages": list(messages), **more})["prompt"])

    def hidden(self, tokens: Sequence[int]) -> Doubles:
        """Hidden states after the final norm, [len(tokens), hidden]; needs `Settings.hidden`."""
        answer = self._post("/embedding", {"content": list(tokens), "embd_normalize": -1})
        return np.asarray(answer[0]["embedding"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read().decode()
        except OSError as error:
            raise OracleError(f"llama.cpp gave no answer: {error}\n{self._worker.log()}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise OracleError(f"llama.cpp answered {response.status}: {answer}")
        return json.loads(answer)


class Worker:
    """The process in which llama.cpp runs. It starts at the first model and again after a death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - see close

    @contextmanager
    def open(self, path: Path, settings: Settings | None = None) -> Iterator[Model]:
        """llama.cpp's view of the model at `path`.

        Raises:
            OracleError: llama.cpp cannot load it.
        """
        wanted = {"path": str(path)} | asdict(settings or Settings())
        answer = self._ask({"open": wanted})
        if "error" in answer:
            raise OracleError(f"llama.cpp cannot load {path}: {answer['error']}\n{self.log()}")
        try:
            yield Model(self, answer["id"], answer["port"])
        finally:
            if self._process is not None and self._process.poll() is None:
                self._ask({"close": answer["id"]})

    def log(self) -> str:
        """The last things llama.cpp printed."""
        self._log.seek(0)
        return self._log.read()[-2000:]

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # closes stdin, at which the worker ends
        self._log.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("llama_worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the empty answer below tells
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise OracleError(f"llama.cpp ended its process with code {code}\n{self.log()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
