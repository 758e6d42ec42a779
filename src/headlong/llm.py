"""The library's front door: load a file, get answers."""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from headlong.cache.memory import Cache
from headlong.cache.prefix import PrefixCacheReport
from headlong.engine.calibrate import Measured, find_costs
from headlong.engine.chat import AnswerReader, ChatChunk, ChatCompletion, ChatRequest, Message
from headlong.engine.cost_cache import VARIABLE, CostCache, cost_cache
from headlong.engine.engine import Engine, Load, Settings, TokenRoles, recorded
from headlong.engine.grammar import GrammarCompiler
from headlong.engine.load import LoadedModel, load_model
from headlong.engine.requests import Chunk, Completion, Requests
from headlong.errors import ParameterError
from headlong.models.rehearsal import Rehearsal
from headlong.ops.batch import FloatArray
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.ops.state import KV_TYPES
from headlong.progress import Progress, Silent
from headlong.sampling import MAX_DRAFT, Grammar, SamplingParams
from headlong.speculation import Auto, CostTable, DraftLength, SpeculationStats
from headlong.speculation.mtp import MTPDrafter
from headlong.tokenizer import ChatTemplate, Tokenizer, opens_reasoning

DEFAULT_CONTEXT = 4096
SPECULATION_TYPES = ("draft-mtp", "none")

Prompt = str | Sequence[int]
"""Text, or token ids."""


class LLM:
    """A loaded model.

    >>> llm = LLM("model.gguf")
    >>> llm.generate("def fibonacci(n):", SamplingParams(max_tokens=64)).text

    Args:
        path: a GGUF file; of a split model, any part.
        context: positions per sequence; at most what the model was trained for.
        sequences: how many sequences run at once; others wait.
        threads: threads that compute (default: the processors this process may use).
        spec_type: ``"draft-mtp"`` drafts with the file's MTP head where it has one, ``"none"``
            does not load the head.
        draft_n_max: draft length: a number, or ``"auto"`` to choose it by measured cost and
            acceptance, down to 0.  Never changes the text.
        kv_type: ``"f16"`` or ``"q8_0"``.
        isa: instruction set, for comparisons (default: the fastest here).
        prefill_rows: most prompt rows per pass.
        cache_ram: MiB in which prompts that were read are kept, so that a later one with the same
            beginning goes on after it; 0 keeps none.  Never changes the text.
        progress: where loading reports itself (default: nowhere).

    Raises `HeadlongError` subclasses with one sentence that names the cause.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context: int | None = None,
        sequences: int = 8,
        threads: int | None = None,
        spec_type: str = "draft-mtp",
        draft_n_max: int | str = "auto",
        kv_type: str = "f16",
        isa: str | None = None,
        prefill_rows: int = 256,
        cache_ram: int = 0,
        progress: Progress | None = None,
    ) -> None:
        _require("spec_type", spec_type, SPECULATION_TYPES)
        _require("kv_type", kv_type, KV_TYPES)
        _require_range("sequences", sequences, 1, 1024)
        _require_range("prefill_rows", prefill_rows, 1, 8192)
        _require_range("cache_ram", cache_ram, 0, 1 << 24)
        draft_length = DraftLength.parse(draft_n_max)
        progress = progress or Silent()
        self._ops = CpuOps(threads, isa)
        model = load_model(
            Path(path),
            self._ops,
            progress,
            mtp=spec_type != "none",
            check=lambda config: _context(context, config.context),
        )
        for type_name, (packed, count) in self._ops.reencoded.items():
            progress.note(f"{count} tensors stored as {type_name} are computed as {packed}")
        config = model.config
        self._context = _context(context, config.context)
        self._model = model
        self.tokenizer: Tokenizer = model.tokenizer
        cache = Cache(
            config,
            context=self._context,
            sequences=sequences,
            kv_type=kv_type,
            max_draft=MAX_DRAFT,
            mtp=model.head is not None,
            retain=cache_ram << 20,
        )
        self._cache = cache
        drafter = None
        if model.head is not None and cache.mtp_kv is not None:
            drafter = MTPDrafter(model.head, cache.mtp_kv)
        costs = CostTable()
        forward = recorded(model.trunk, cache)
        self._closing: weakref.finalize[..., LLM] | None = None
        if drafter is not None and isinstance(draft_length, Auto):
            kept = cost_cache(self._ops, model.fingerprint, kv_type)
            with progress.stage("costs", 1, "") as stage:
                known = kept.load() if kept is not None else None
                costs = find_costs(Measured(model.trunk, forward, drafter, cache), known)
                stage.advance(1)
            if kept is not None:
                if not costs.lessons and not kept.save(costs.record()):
                    progress.note(
                        f"costs cannot be kept in {kept.path.parent} and are measured at every "
                        f"start; name a folder in {VARIABLE}, or set it to off"
                    )
                self._closing = weakref.finalize(self, _keep_costs, kept, costs)
        unused = (*model.tokenizer.unused_ids, *range(model.tokenizer.size, config.vocab))
        self._engine = Engine(
            model.trunk,
            cache,
            TokenRoles(eog=frozenset(model.tokenizer.eog_ids), unused=unused),
            Settings(self._context, draft_length, prefill_rows),
            drafter,
            costs,
            forward,
        )
        self._grammars = GrammarCompiler(model.tokenizer, config.vocab)
        self._requests = Requests(self._engine, model.tokenizer, self._grammars)
        self._sequences = sequences
        self._max_draft = 0 if drafter is None else draft_length.n_max

    @property
    def sequences(self) -> int:
        """How many sequences run at once."""
        return self._sequences

    @property
    def context(self) -> int:
        """Positions per sequence."""
        return self._context

    @property
    def model(self) -> LoadedModel[CpuWeight]:
        """The file's sizes and vocabulary, and the weights."""
        return self._model

    @property
    def max_draft(self) -> int:
        """Most tokens that a round may draft; 0 without speculation."""
        return self._max_draft

    @property
    def has_mtp(self) -> bool:
        """Whether an MTP head is loaded."""
        return self._model.head is not None

    @property
    def rehearsal(self) -> Rehearsal | None:
        """What the weights were made with, where they are made up (`headlong synth`)."""
        return self._model.rehearsal

    @property
    def stats(self) -> SpeculationStats:
        """Speculation since loading, over all requests."""
        return self._engine.totals

    @property
    def requests(self) -> Requests[CpuWeight]:
        """Requests by token ids, for those who run the engine's steps themselves."""
        return self._requests

    @property
    def prefix_cache(self) -> PrefixCacheReport | None:
        """What is kept of prompts that were read; None with ``cache_ram=0``."""
        return self._cache.prefixes.report() if self._cache.prefixes is not None else None

    @property
    def load(self) -> Load:
        """How many requests run and wait, and how full the KV cache is."""
        return self._engine.load

    def close(self) -> None:
        """Keep what was learned about this machine's costs for the next start.

        It happens by itself when the object is dropped, and when Python ends.
        """
        if self._closing is not None:
            self._closing()

    def generate(self, prompt: Prompt, params: SamplingParams | None = None) -> Completion:
        """Complete a prompt, given as text or token ids.

        In a text, control tokens such as ``<|im_start|>`` stand for themselves.
        """
        return self.batch([prompt], params)[0]

    def batch(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Completion]:
        """Complete several prompts together; one set of parameters for all, or one for each.

        The answers are those that each prompt would get alone.
        """
        if isinstance(prompts, str):
            raise ParameterError("batch() takes a list of prompts; for one text use generate().")
        each = _params_for(prompts, params)
        return self._requests.finish(
            self._requests.submit(self._encode(prompt), own)
            for prompt, own in zip(prompts, each, strict=True)
        )

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None
    ) -> Generator[Chunk, None, None]:
        """Complete a prompt piece by piece; the last chunk carries the `Completion`.

        Closing the iterator early, or dropping it, cancels the request.
        """
        request = self._requests.submit(self._encode(prompt), params or SamplingParams())
        return self._requests.chunks(request)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, object]] = (),
        template_kwargs: Mapping[str, object] | None = None,
    ) -> ChatCompletion:
        """Answer a conversation through the file's chat template.

        >>> llm.chat([{"role": "user", "content": "Hello"}]).content

        ``tools`` in OpenAI's form; ``template_kwargs`` are variables of the template, such as
        ``enable_thinking``.
        """
        for chunk in self.stream_chat(
            messages, params, tools=tools, template_kwargs=template_kwargs
        ):
            if chunk.answer is not None:
                return chunk.answer
        raise AssertionError("a stream ends with its answer")

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, object]] = (),
        template_kwargs: Mapping[str, object] | None = None,
    ) -> Generator[ChatChunk, None, None]:
        """Answer a conversation piece by piece, reasoning and tool calls told apart.

        A grammar is that of the answer, after the reasoning where the template opens some.
        Closing the iterator early, or dropping it, cancels the request.
        """
        request = ChatRequest(messages, tools, template_kwargs)
        prompt = request.render(ChatTemplate.for_tokenizer(self.tokenizer))
        tokens = self.tokenizer.encode(prompt.text, literal=prompt.literal)
        if params is not None and params.grammar is not None and opens_reasoning(prompt.text):
            params = replace(params, grammar=params.grammar.after_reasoning())
        reader = AnswerReader(prompt.text, tools)
        return _read(self.stream(tokens, params), reader)

    def check_grammar(self, grammar: Grammar) -> None:
        """Compile a grammar, which requests with the same one then need not.

        May be called from any thread; it takes some milliseconds, the first time a quarter of a
        second for a vocabulary of 248,320, and long for grammars made to.  Raises `ParameterError`
        with the reason where there is something wrong with it.
        """
        self._grammars.check(grammar)

    def logits(self, tokens: Sequence[int]) -> FloatArray:
        """Logits of the token after these, float32 ``[vocab]``; nothing else may be running."""
        return self._engine.logits(self._encode(tokens))

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        try:
            return [operator.index(token) for token in prompt]
        except TypeError:
            raise ParameterError("a prompt is a text or a list of token ids.") from None


def _keep_costs(kept: CostCache, costs: CostTable) -> None:
    kept.improve(costs.record())


def _read(
    chunks: Generator[Chunk, None, None], reader: AnswerReader
) -> Generator[ChatChunk, None, None]:
    with closing(chunks):
        for chunk in chunks:
            yield reader.feed(chunk)


def _params_for(
    prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None
) -> Sequence[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * len(prompts)
    if len(params) != len(prompts):
        raise ParameterError(
            f"{len(params)} sampling parameters were given for {len(prompts)} prompts."
        )
    return params


def _context(wanted: int | None, trained: int) -> int:
    if wanted is None:
        return min(DEFAULT_CONTEXT, trained)
    if not isinstance(wanted, int) or not 2 <= wanted <= trained:
        raise ParameterError(
            f"context = {wanted!r} is not a whole number from 2 to {trained}, the length the model "
            "was trained for."
        )
    return wanted


def _require(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ParameterError(f"{name} = '{value}' is not one of: {', '.join(known)}.")


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ParameterError(f"{name} = {value!r} is not a whole number from {low} to {high}.")
