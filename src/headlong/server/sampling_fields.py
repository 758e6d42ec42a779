"""The fields of sampling that every generating request has, and what they come to.

Names are llama-server's, with OpenAI's beside them.  A field that is not given, or null, leaves
the default of `SamplingParams`.  What this engine does not have (DRY, XTC, Mirostat, ...) is taken
where its value switches it off, as clients send it, and refused where it would change the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias

from pydantic import ConfigDict, Field

from headlong.errors import HeadlongError, ParameterError
from headlong.llm import LLM
from headlong.sampling import SamplingParams
from headlong.server.api_error import ApiError, error_of, invalid
from headlong.server.request_body import RequestBody
from headlong.tokenizer import Tokenizer

__all__ = ["LEAST_PENALTY", "SamplingFields", "Speculative"]

Number: TypeAlias = float
BiasValue: TypeAlias = float | bool
BiasToken: TypeAlias = int | str


LEAST_PENALTY: Final = 0.01
"""Logits are divided by it: a far smaller one would make infinities of them."""


class Speculative(RequestBody):
    """How this request drafts; never changes the text."""

    n_max: int | None = Field(
        default=None, description="Longest draft; 0: no speculation; null: the server's setting."
    )
    n_min: int | None = Field(default=None, description="Only 0, which is what this engine does.")
    p_min: Number | None = Field(
        default=None, description="Only 0, which is what this engine does."
    )


@dataclass(frozen=True, slots=True)
class _Neutral:
    """A field of llama-server that is taken as long as it has no effect."""

    values: tuple[object, ...]
    what: str


# DRY's, XTC's and Mirostat's further settings mean nothing while they are off.
_NEUTRAL: Final[Mapping[str, _Neutral]] = {
    "dynatemp_range": _Neutral((0,), "dynamic temperature"),
    "dry_multiplier": _Neutral((0,), "the DRY penalty"),
    "xtc_probability": _Neutral((0,), "the XTC sampler"),
    "mirostat": _Neutral((0,), "Mirostat"),
    "top_n_sigma": _Neutral((-1, 0), "the top-n-sigma sampler"),
    "adaptive_target": _Neutral((-1,), "the adaptive-p sampler"),
    "min_keep": _Neutral((0, 1), "keeping more than one token in every filter"),
    "n_indent": _Neutral((0,), "a minimum indentation"),
    "t_max_predict_ms": _Neutral((-1, 0), "a time limit on generation"),
    "t_max_prompt_ms": _Neutral((-1, 0), "a time limit on the prompt"),
    "n_cache_reuse": _Neutral((0,), "reuse of shifted KV cache"),
    "id_slot": _Neutral((-1,), "the choice of a slot"),
    "post_sampling_probs": _Neutral((False,), "probabilities after the sampler chain"),
    "lora": _Neutral(([],), "LoRA adapters"),
}

# In the order in which they are applied; llama-server's names.
_CHAIN: Final = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
_SPELLINGS: Final = {
    "typical_p": "typ_p", "typical": "typ_p", "top-k": "top_k", "top-p": "top_p",
    "min-p": "min_p", "typ-p": "typ_p", "temp": "temperature",
}  # fmt: skip
# What leaving a sampler out of `samplers` comes to.
_OFF: Final[Mapping[str, Mapping[str, float]]] = {
    "penalties": {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "temperature": {"temperature": 1.0},
}


class SamplingFields(RequestBody):
    """The sampler chain, speculation, and what ends an answer."""

    model_config = ConfigDict(json_schema_extra={"description": "Sampling"})

    temperature: Number | None = Field(
        default=None, description="0 or less: the best token always wins."
    )
    top_k: int | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    repeat_penalty: Number | None = Field(default=None, ge=LEAST_PENALTY)
    repeat_last_n: int | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    logit_bias: (
        dict[str, BiasValue] | list[Annotated[list[BiasToken | BiasValue], Field(max_length=2)]]
    ) | None = Field(
        default=None, description="An object {token: bias} or a list of [token, bias]."
    )
    seed: int | None = Field(
        default=None, description="-1 or null: a random one, which is reported."
    )
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    samplers: list[str] | str | None = Field(
        default=None, description="Those to use, in the order of this engine's chain."
    )
    speculative: Speculative | bool | None = Field(
        default=None, description="{n_max: N}; false is {n_max: 0}."
    )
    flat_n_max: int | None = Field(default=None, alias="speculative.n_max")
    flat_n_min: int | None = Field(default=None, alias="speculative.n_min")
    flat_p_min: Number | None = Field(default=None, alias="speculative.p_min")

    dynatemp_range: Number | None = None
    dynatemp_exponent: Number | None = None
    dry_multiplier: Number | None = None
    dry_base: Number | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: Number | None = None
    xtc_threshold: Number | None = None
    mirostat: int | None = None
    mirostat_tau: Number | None = None
    mirostat_eta: Number | None = None
    top_n_sigma: Number | None = None
    adaptive_target: Number | None = None
    adaptive_decay: Number | None = None
    min_keep: int | None = None
    n_indent: int | None = None
    n_keep: int | None = Field(
        default=None, description="Without effect: contexts are never shifted."
    )
    n_discard: int | None = Field(
        default=None, description="Without effect: contexts are never shifted."
    )
    n_cache_reuse: int | None = None
    t_max_predict_ms: int | None = None
    t_max_prompt_ms: int | None = None
    id_slot: int | None = None
    post_sampling_probs: bool | None = None
    lora: list[dict[str, object]] | None = None

    field_names: ClassVar[Mapping[str, str]] = {}
    """Fields of `SamplingParams` that this request calls something else."""

    def sampling(
        self, llm: LLM, *, max_tokens: int | None = None, **more: object
    ) -> SamplingParams:
        """The parameters that these fields come to.

        ``more`` are further fields of `SamplingParams` that the request has worked out.
        Raises `ApiError` naming the field at fault.
        """
        self._check_neutral()
        given: dict[str, object] = {
            name: value
            for name in (
                "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty",
                "repeat_last_n", "presence_penalty", "frequency_penalty", "ignore_eos",
                "min_tokens",
            )
            if (value := getattr(self, name)) is not None
        }  # fmt: skip
        given |= self._left_out()
        given["max_tokens"] = max_tokens
        given["seed"] = None if self.seed == -1 else self.seed
        given["stop"] = self._stop()
        given["logit_bias"] = self._bias(llm.tokenizer)
        given["draft_n_max"] = self._draft_n_max(llm)
        given |= more
        try:
            return SamplingParams(**given)  # type: ignore[arg-type]
        except ParameterError as error:
            raise self._renamed(error) from None

    def _check_neutral(self) -> None:
        for name, neutral in _NEUTRAL.items():
            value = getattr(self, name)
            if value is not None and value not in neutral.values:
                fine = " or ".join(_word(value) for value in neutral.values)
                raise invalid(
                    name, f"'{name}' asks for {neutral.what}, which this server does not have; "
                    f"leave it out or send {fine}."
                )  # fmt: skip

    def _stop(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def _left_out(self) -> dict[str, float]:
        """What the samplers that `samplers` does not name are set to."""
        if self.samplers is None:
            return {}
        if isinstance(self.samplers, str):
            raise invalid("samplers", "'samplers' must be a list of names.")
        names = [_SPELLINGS.get(name, name) for name in self.samplers]
        for given, name in zip(self.samplers, names, strict=True):
            if name not in _CHAIN:
                raise invalid(
                    "samplers", f"'samplers' names {given[:40]!r}; known are: {', '.join(_CHAIN)}."
                )
        places = [_CHAIN.index(name) for name in names]
        if places != sorted(set(places)):
            raise invalid(
                "samplers", "'samplers' must name each sampler once, in the order of this "
                f"engine's chain: {', '.join(_CHAIN)}."
            )  # fmt: skip
        left_out = (off for name, off in _OFF.items() if name not in names)
        return {field: value for off in left_out for field, value in off.items()}

    def _bias(self, tokenizer: Tokenizer) -> dict[int, float]:
        """Biases by id.  A text stands for each of its tokens; a number in quotes for that id."""
        biases: dict[int, float] = {}
        for token, value in self._bias_items():
            if isinstance(token, str) and not token.isdecimal():
                ids = _encoded(tokenizer, token)
            else:
                ids = [int(token)] if len(str(token)) < 20 else [1 << 62]
            for one in ids:
                biases[one] = -math.inf if value is False else value
        return biases

    def _bias_items(self) -> list[tuple[BiasToken, BiasValue]]:
        if self.logit_bias is None:
            return []
        if isinstance(self.logit_bias, dict):
            return list(self.logit_bias.items())
        items: list[tuple[BiasToken, BiasValue]] = []
        for pair in self.logit_bias:
            if len(pair) != 2 or isinstance(pair[0], bool | float) or isinstance(pair[1], str):
                raise invalid("logit_bias", "'logit_bias' must hold pairs [token, bias].")
            items.append((pair[0], pair[1]))
        return items

    def _draft_n_max(self, llm: LLM) -> int | None:
        """The request's longest draft; None: as the server is set."""
        settings = self.speculative
        if isinstance(settings, bool):
            settings = Speculative() if settings else Speculative(n_max=0)
        settings = settings or Speculative()
        for field, name in (("n_min", "flat_n_min"), ("p_min", "flat_p_min")):
            for value in (getattr(settings, field), getattr(self, name)):
                if value:
                    raise invalid(
                        f"speculative.{field}", f"'speculative.{field}' has no counterpart in this "
                        "engine, which decides by cost how far to draft; leave it out or send 0."
                    )  # fmt: skip
        n_max = settings.n_max if self.flat_n_max is None else self.flat_n_max
        if settings.n_max is not None and settings.n_max != n_max:
            raise invalid("speculative.n_max", "'speculative.n_max' is given twice, differently.")
        if n_max is None or n_max == -1:
            return None
        if not 0 <= n_max <= llm.max_draft:
            why = (
                f"this server drafts up to {llm.max_draft} tokens"
                if llm.max_draft
                else "this server drafts none: no MTP head is loaded, or speculation is off"
            )
            raise invalid(
                "speculative.n_max",
                f"'speculative.n_max' is {n_max}; it must be 0 to {llm.max_draft}, since {why}.",
            )
        return n_max

    def _renamed(self, error: ParameterError) -> ApiError:
        """The library's error, which begins with its name of the field, with the request's."""
        text = str(error)
        own = text.split(" ", 1)[0]
        name = self.field_names.get(own, own)
        return invalid(name, name + text.removeprefix(own))


def _encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    try:
        return tokenizer.encode(text, add_bos=False)
    except HeadlongError as error:
        raise error_of(error, "logit_bias") from None


def _word(value: object) -> str:
    return "false" if value is False else str(value)
