"""Fields that a request for a chat completion and one for a completion have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from headlong.sampling.params import MAX_DRAFT, MAX_SEED
from headlong.server.api_error import invalid
from headlong.server.openai.handling import (
    HandledField,
    Handling,
    RequestPart,
    accepted,
    honoured,
    refused,
)
from headlong.server.sampling_fields import LEAST_PENALTY, SamplingFields
from headlong.tokenizer import Tokenizer

__all__ = [
    "MOST_ALTERNATIVES",
    "MOST_ANSWERS",
    "MOST_TOKENS",
    "CommonRequest",
    "JSONSchemaFormat",
    "ResponseFormat",
    "StreamOptions",
    "StructuredOutputs",
]

MOST_ANSWERS: Final = 128
"""Answers that one request may ask for."""
MOST_ALTERNATIVES: Final = 20
"""Tokens whose log-probabilities may be asked for at each place."""
MOST_TOKENS: Final = (1 << 31) - 1

_MOST_STOPS: Final = 64
_LONGEST_STOP: Final = 1024
_LONGEST_GRAMMAR: Final = 1 << 18
_MOST_CHOICES: Final = 1024


class StreamOptions(RequestPart):
    """What a stream says besides the answer."""

    include_usage: bool = Field(
        default=False, description="One more event with the usage, at the end."
    )
    continuous_usage_stats: bool = Field(
        default=False, description="The usage so far in every event."
    )
    include_obfuscation: bool = Field(
        default=False, description="Has no effect: nothing is padded."
    )


class StructuredOutputs(RequestPart):
    """vLLM's way of asking for a form; exactly one of these."""

    json_: Any = Field(default=None, alias="json", description="A JSON schema, or its text.")
    regex: str | None = Field(default=None, max_length=_LONGEST_GRAMMAR)
    choice: list[str] | None = Field(default=None, min_length=1, max_length=_MOST_CHOICES)
    grammar: str | None = Field(default=None, max_length=_LONGEST_GRAMMAR)
    json_object: bool | None = None

    @model_validator(mode="after")
    def _asks_for_one(self) -> Self:
        asked = [self.json_, self.regex, self.choice, self.grammar, self.json_object or None]
        if sum(one is not None for one in asked) != 1:
            raise PydanticCustomError(
                "one", "give exactly one of json, json_object, regex, choice and grammar"
            )
        return self


class JSONSchemaFormat(RequestPart):
    """A JSON schema for the answer."""

    name: str | None = Field(default=None, max_length=128)
    description: str | None = None
    schema_: Any = Field(default=None, alias="schema", description="A JSON schema.")
    strict: bool | None = Field(
        default=None, description="Has no effect: the schema is kept to in any case."
    )


class ResponseFormat(RequestPart):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchemaFormat | None = None
    schema_: Any = Field(
        default=None,
        alias="schema",
        description="llama-server's place for the schema of a json_object.",
    )

    @model_validator(mode="after")
    def _has_its_part(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError("format", "json_schema and type 'json_schema' come together")
        if self.json_schema is not None and self.json_schema.schema_ is None:
            raise PydanticCustomError("format", "json_schema.schema is missing")
        if self.schema_ is not None and self.type != "json_object":
            raise PydanticCustomError("format", "schema belongs to type 'json_object'")
        return self


# How the fields of every generating request are handled here: notes for readers, and the values
# with which those of other servers ask for nothing (`SamplingFields` checks them).
_SAMPLING_NOTES: Final = {
    "temperature": "Default: the engine's, 0.8. 0: the best token always wins.",
    "top_k": "Default 40; 0: all.",
    "top_p": "Default 0.95.",
    "min_p": "Default 0.05.",
    "typical_p": "Default 1: off.",
    "repeat_penalty": "Default 1: off.",
    "repeat_last_n": "Tokens that the penalties look back on; -1: all. Default 64.",
    "presence_penalty": "Default 0.",
    "frequency_penalty": "Default 0.",
    "logit_bias": "Token ids as strings; -100 bans a token, as false does.",
    "seed": "Choice i is drawn with seed + i; -1 or none: random ones.",
    "stop": f"A string, or up to {_MOST_STOPS} of them; they are left out of the text.",
    "ignore_eos": "Go on to the length asked for, as benchmarks need.",
    "min_tokens": "No end before so many tokens.",
    "samplers": "Samplers to use, in the order of this engine's chain.",
    "speculative": '`{"n_max": N}`: longest draft; 0: none. Never changes the text.',
    "speculative.n_max": "As `n_max` of `speculative`.",
}
_WHILE_OFF: Final = "Means nothing while its sampler is off."
_WITHOUT_EFFECT: Final = {
    "dynatemp_exponent": _WHILE_OFF,
    "dry_base": _WHILE_OFF,
    "dry_allowed_length": _WHILE_OFF,
    "dry_penalty_last_n": _WHILE_OFF,
    "dry_sequence_breakers": _WHILE_OFF,
    "xtc_threshold": _WHILE_OFF,
    "mirostat_tau": _WHILE_OFF,
    "mirostat_eta": _WHILE_OFF,
    "adaptive_decay": _WHILE_OFF,
    "n_keep": "A context is never shifted.",
    "n_discard": "A context is never shifted.",
}
_OFF: Final[Mapping[str, tuple[object, ...]]] = {
    "speculative.n_min": (0,),
    "speculative.p_min": (0,),
    "dynatemp_range": (0,),
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "mirostat": (0,),
    "top_n_sigma": (-1, 0),
    "adaptive_target": (-1,),
    "min_keep": (0, 1),
    "n_indent": (0,),
    "t_max_predict_ms": (-1, 0),
    "t_max_prompt_ms": (-1, 0),
    "n_cache_reuse": (0,),
    "id_slot": (-1,),
    "post_sampling_probs": (False,),
    "lora": ([],),
}


# What `SamplingParams` takes, for the OpenAPI document; it is checked there.
_RANGES: Final[Mapping[str, tuple[float, float | None]]] = {
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (LEAST_PENALTY, 100),
    "repeat_last_n": (-1, None),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "seed": (-1, MAX_SEED),
    "min_tokens": (0, None),
    "speculative.n_max": (-1, MAX_DRAFT),
}


def _sampling_fields() -> Iterator[HandledField]:
    for name, note in _SAMPLING_NOTES.items():
        yield HandledField(name, Handling.HONOURED, note)
    for name, note in _WITHOUT_EFFECT.items():
        yield HandledField(name, Handling.ACCEPTED, note)
    for name, neutral in _OFF.items():
        yield HandledField(name, Handling.REFUSED, "Nothing of the kind here.", neutral)


def _say_more(schema: dict[str, Any]) -> None:
    """Put what is known of inherited fields into the JSON schema of a request."""
    properties = schema["properties"]
    for name, field in CommonRequest.inherited.items():
        own = properties[name]
        own["description"] = field.note
        own["x-handling"] = field.handling.value
        if field.handling is Handling.REFUSED:
            own["enum"] = [None, *field.neutral]
        low, high = _RANGES.get(name, (None, None))
        if low is not None:
            own["minimum"] = low
        if high is not None:
            own["maximum"] = high


class CommonRequest(RequestPart, SamplingFields):
    """Fields of both endpoints."""

    model_config = ConfigDict(json_schema_extra=_say_more)

    inherited: ClassVar[Mapping[str, HandledField]] = {f.name: f for f in _sampling_fields()}

    model: str | None = honoured(
        "The served model's name or one of its aliases. Other names are answered too, unless the "
        "setting `accept-any-model` is off: then 404.",
        max_length=1024,
    )
    n: int | None = honoured(
        f"Choices per prompt; up to {MOST_ANSWERS} in a request.", ge=1, le=MOST_ANSWERS
    )
    max_tokens: int | None = honoured(
        "Default, and -1: until the context is full.", ge=-1, le=MOST_TOKENS
    )
    n_predict: int | None = honoured(
        "llama-server's name of `max_tokens`; both must agree.", ge=-1, le=MOST_TOKENS
    )
    repetition_penalty: float | None = honoured(
        "vLLM's name of `repeat_penalty`.", ge=LEAST_PENALTY, le=100
    )

    # --- The answer's shape

    stream: bool | None = honoured("Server-sent events.")
    stream_options: StreamOptions | None = honoured(
        "`include_usage`, `continuous_usage_stats`; `include_obfuscation` has no effect."
    )
    return_tokens: bool | None = honoured("Token ids of each choice, as `tokens`.")
    return_token_ids: bool | None = honoured(
        "vLLM's: `token_ids` of each choice, and `prompt_token_ids`."
    )
    timings_per_token: bool | None = honoured(
        "llama-server's: `timings` so far in every event, and in each choice `accepted`: how many "
        "of the step's tokens came from accepted drafts."
    )
    return_drafts: bool | None = honoured(
        "In each event, `drafts`: the step's tokens as text, and how many of them were drafts."
    )
    return_progress: bool | None = honoured(
        "Streams only: events with `prompt_progress` while the prompt is read."
    )

    cache_prompt: bool | None = honoured(
        "false: the prompt is read anew, as if nothing had been kept. Never changes the text."
    )
    sse_ping_interval: float | None = honoured(
        "llama-server's: seconds of silence before a comment is sent; 0 or less: none.", le=86400
    )

    # --- The answer's form; one of them

    response_format: ResponseFormat | None = honoured(
        "`text`, `json_object`, or `json_schema`, which is kept to, strict or not."
    )
    grammar: str | None = honoured(
        "llama-server's: a grammar in GBNF or Lark; empty: none.", max_length=_LONGEST_GRAMMAR
    )
    json_schema: Any = honoured("llama-server's: a JSON schema, or its text.")
    structured_outputs: StructuredOutputs | None = honoured(
        "vLLM's: one of `json`, `json_object`, `regex`, `choice`, `grammar`."
    )
    guided_json: Any = honoured("vLLM's older name of `structured_outputs.json`.")
    guided_regex: str | None = honoured(
        "As `structured_outputs.regex`.", min_length=1, max_length=_LONGEST_GRAMMAR
    )
    guided_choice: list[str] | None = honoured(
        "As `structured_outputs.choice`.", min_length=1, max_length=_MOST_CHOICES
    )
    guided_grammar: str | None = honoured(
        "As `structured_outputs.grammar`.", min_length=1, max_length=_LONGEST_GRAMMAR
    )

    # --- Fields of other servers, taken as far as they change nothing

    user: str | None = accepted("Nothing is kept by user.")
    service_tier: Literal["auto", "default"] | None = accepted("There is one tier, `default`.")
    request_id: str | None = accepted("The answer has an id of its own.")
    n_probs: int | None = refused("ask for `logprobs`.", 0)
    cache_salt: str | None = refused("kept prompts are shared between all requests.")
    priority: int | None = refused("requests are served in turn.", 0)
    length_penalty: float | None = refused("there is no beam search.", 1)
    use_beam_search: bool | None = refused("there is no beam search.", False)
    stop_token_ids: list[int] | None = refused("give strings in `stop`.", [])
    bad_words: list[str] | None = refused("ban tokens with `logit_bias`.", [])
    allowed_token_ids: list[int] | None = refused("ban tokens with `logit_bias`.")
    include_stop_str_in_output: bool | None = refused("stop strings are left out.", False)
    skip_special_tokens: bool | None = refused("control tokens are left out of the text.", True)
    spaces_between_special_tokens: bool | None = refused(
        "control tokens are left out of the text.", True
    )
    truncate_prompt_tokens: int | None = refused("a prompt is answered whole or not at all.")
    prompt_logprobs: int | None = refused("logprobs are those of generated tokens.")
    return_tokens_as_token_ids: bool | None = refused("ask for `return_tokens`.", False)
    guided_whitespace_pattern: str | None = refused("the form decides on white space.")
    guided_decoding_backend: str | None = refused("there is only one.", "auto", "guidance")

    @model_validator(mode="after")
    def _penalty_has_one_value(self) -> Self:
        old, new = self.repeat_penalty, self.repetition_penalty
        if old is not None and new is not None and old != new:
            raise PydanticCustomError(
                "twice", "repeat_penalty and repetition_penalty are the same; give one"
            )
        return self

    @model_validator(mode="after")
    def _stops_are_bounded(self) -> Self:
        stops = self.stop if isinstance(self.stop, list) else []
        if len(stops) > _MOST_STOPS or any(len(one) > _LONGEST_STOP for one in stops):
            raise PydanticCustomError(
                "stop",
                "stop may hold {most} strings of {longest} characters",
                {"most": _MOST_STOPS, "longest": _LONGEST_STOP},
            )
        return self

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return self.n or 1

    @property
    def limits(self) -> Mapping[str, int | None]:
        """What each field that limits the answer's length says."""
        return {"max_tokens": self.max_tokens, "n_predict": self.n_predict}

    def most_tokens(self) -> int | None:
        """Most tokens of an answer; None: until the context is full.

        Raises `ApiError` where two fields say so differently.
        """
        given = {name: limit for name, limit in self.limits.items() if limit is not None}
        for name, limit in given.items():
            first = next(iter(given))
            if limit != given[first]:
                raise invalid(name, f"'{first}' and '{name}' differ; give one of them.")
        limit = next(iter(given.values()), -1)
        return None if limit == -1 else limit

    def _bias(self, tokenizer: Tokenizer) -> dict[int, float]:
        """As for every request, and with OpenAI's lowest bias as the ban that it means."""
        biases = super()._bias(tokenizer)
        return {token: -math.inf if bias == -100 else bias for token, bias in biases.items()}

    @property
    def options(self) -> StreamOptions:
        """What the stream says besides the answer."""
        return self.stream_options or StreamOptions()
