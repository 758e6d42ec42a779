"""What a request may ask of sampling, checked once, when it is made.

Names and defaults are llama.cpp's, so that settings carry over unchanged. Every field is checked
here and nowhere else: code below can rely on any `SamplingParams` it is given.
"""

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Final

from headlong.errors import ParameterError
from headlong.sampling.grammar import Grammar

__all__ = ["MAX_BIAS", "MAX_DRAFT", "MAX_LOGPROBS", "MAX_SEED", "SamplingParams"]

# The longest draft of one round. With the token before it a round has at most 16 rows, the most
# that the kernels for small batches take in one go.
MAX_DRAFT: Final = 15

# The most alternatives that OpenAI's API knows.
MAX_LOGPROBS: Final = 20

MAX_SEED: Final = 2**64 - 1  # the noise mixes 64-bit words

# Logits are float32 and lie within some hundreds of zero: a bias of this size already decides
# everything, and sums with it stay far from overflow.
MAX_BIAS: Final = 1e6

_BAN: Final = -math.inf


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling settings of one request. Raises ParameterError naming the field at fault.

    The chain: logit bias, penalties, top-k, typical-p, top-p, min-p, temperature, draw.
    """

    max_tokens: int | None = None
    """Most tokens to generate; None: until the context is full."""
    temperature: float = 0.8
    """Divides the logits before the draw; 0 or less: the highest logit always wins."""
    top_k: int = 40
    """Keep the k highest logits; 0 or less: all."""
    top_p: float = 0.95
    """Keep the fewest tokens whose probabilities reach this sum; 1: all."""
    min_p: float = 0.05
    """Keep tokens at least this share as probable as the best one; 0: all."""
    typical_p: float = 1.0
    """Keep the tokens of most typical surprise up to this probability; 1: all."""
    repeat_penalty: float = 1.0
    """Positive logits of repeated tokens are divided by it, others multiplied; 1: off."""
    repeat_last_n: int = 64
    """How many of the last tokens count as repeated; -1: all, 0: no penalties."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of every repeated token."""
    frequency_penalty: float = 0.0
    """Subtracted once per occurrence of a repeated token."""
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    """Added to the logits of these ids; -inf or False bans one. Stored as sorted pairs."""
    seed: int | None = None
    """0 to 2**64 - 1; None: one is drawn when the request starts, and reported."""
    stop: tuple[str, ...] = ()
    """Generation ends before any of these strings."""
    ignore_eos: bool = False
    """Never sample an end-of-generation token."""
    min_tokens: int = 0
    """No end-of-generation token before this many tokens."""
    draft_n_max: int | None = None
    """Longest draft for this request; None: the engine's setting, 0: no speculation."""
    cache_prompt: bool = True
    """Go on after what was read for earlier requests, and leave what is read to later ones."""
    logprobs: int | None = None
    """How many likely tokens to report beside each sampled one, with the model's own
    log-probabilities (temperature 1, no filters); 0: those of the sampled alone, None: none."""
    grammar: Grammar | None = None
    """What the answer must match; it may end where the grammar may, and does where it must."""

    def __post_init__(self) -> None:
        """Checks every field and brings it to its plain type."""
        self._integer("max_tokens", 1, None, none="until the context is full")
        self._real("temperature", None, None)
        self._integer("top_k", None, None)
        self._real("top_p", 0, 1)
        self._real("min_p", 0, 1)
        self._real("typical_p", 0, 1)
        self._real("repeat_penalty", 0, 100, open_low=True)
        self._integer("repeat_last_n", -1, None)
        self._real("presence_penalty", -100, 100)
        self._real("frequency_penalty", -100, 100)
        self._set("logit_bias", _bias_pairs(self.logit_bias))
        self._integer("seed", 0, MAX_SEED, none="a random one")
        self._set("stop", _stop_strings(self.stop))
        self._boolean("ignore_eos")
        self._boolean("cache_prompt")
        self._integer("min_tokens", 0, None)
        self._integer("draft_n_max", 0, MAX_DRAFT, none="the engine's setting")
        self._integer("logprobs", 0, MAX_LOGPROBS, none="none are reported")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise ParameterError(f"grammar is {_shown(self.grammar)}; it must be a Grammar or None")
        if self.grammar is not None and self.ignore_eos:
            raise ParameterError(
                "ignore_eos and grammar exclude each other: an answer ends where its grammar does; "
                "leave one out"
            )
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ParameterError(
                f"min_tokens is {self.min_tokens}, more than max_tokens ({self.max_tokens}); "
                "lower one or raise the other"
            )

    @property
    def greedy(self) -> bool:
        """Whether the highest logit always wins, so that no noise is drawn."""
        return self.temperature <= 0

    @property
    def penalised(self) -> bool:
        """Whether any penalty changes logits, so that sampling needs the history."""
        return self.repeat_last_n != 0 and (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        )

    @property
    def bias_pairs(self) -> tuple[tuple[int, float], ...]:
        """logit_bias as sorted (id, bias) pairs; a bias of -inf bans the id."""
        assert isinstance(self.logit_bias, tuple)  # brought to this form when made
        return self.logit_bias

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _boolean(self, field: str) -> None:
        value = getattr(self, field)
        if not isinstance(value, bool):
            raise ParameterError(f"{field} is {_shown(value)}; it must be True or False")

    def _integer(self, field: str, low: int | None, high: int | None, none: str = "") -> None:
        value = getattr(self, field)
        if value is None and none:
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, Integral)
            or (low is not None and int(value) < low)
            or (high is not None and int(value) > high)
        ):
            wanted = f"a whole number{_range(low, high)}" + (f", or None ({none})" if none else "")
            raise ParameterError(f"{field} is {_shown(value)}; it must be {wanted}")
        self._set(field, int(value))

    def _real(
        self, field: str, low: float | None, high: float | None, open_low: bool = False
    ) -> None:
        value = getattr(self, field)
        if (
            isinstance(value, bool)
            or not isinstance(value, Real)
            or not _finite(value)
            or (low is not None and (float(value) <= low if open_low else float(value) < low))
            or (high is not None and float(value) > high)
        ):
            wanted = " above 0 and at most 100" if open_low else _range(low, high)
            raise ParameterError(f"{field} is {_shown(value)}; it must be a finite number{wanted}")
        self._set(field, float(value))


def _range(low: float | None, high: float | None) -> str:
    """The words for a closed range, with a leading space; empty when it has no ends."""
    if low is None:
        return ""
    return f" of {low} or more" if high is None else f" from {low} to {high}"


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer beyond float's range
        return False


def _shown(value: object) -> str:
    """The value for a message: shortened, since it can be anything a request held."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write out integers of more than 4,300 digits
        return "a number of thousands of digits"


def _bias_pairs(bias: object) -> tuple[tuple[int, float], ...]:
    """Sorted (id, bias) pairs of a mapping or of pairs, checked."""
    if isinstance(bias, Mapping):
        items: Iterable[object] = bias.items()
    elif isinstance(bias, (tuple, list)):
        items = bias
    else:
        raise ParameterError(f"logit_bias is {_shown(bias)}; it must map token ids to numbers")
    pairs: dict[int, float] = {}
    for item in items:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ParameterError(f"logit_bias holds {_shown(item)}; it must hold (id, bias) pairs")
        token, value = item
        if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
            raise ParameterError(
                f"logit_bias names the token {_shown(token)}; ids are whole numbers of 0 or more"
            )
        if int(token) in pairs:
            raise ParameterError(f"logit_bias names the token {token} twice; give it once")
        pairs[int(token)] = _bias_value(int(token), value)
    return tuple(sorted(pairs.items()))


def _bias_value(token: int, value: object) -> float:
    if value is False:
        return _BAN
    if not isinstance(value, bool) and isinstance(value, Real):
        number = float(value) if not isinstance(value, Integral) or _finite(value) else math.inf
        if number == _BAN or abs(number) <= MAX_BIAS:
            return number
    raise ParameterError(
        f"logit_bias of token {token} is {_shown(value)}; it must be a number from "
        f"{-MAX_BIAS:.0f} to {MAX_BIAS:.0f}, or False or -inf to ban the token"
    )


def _stop_strings(stop: object) -> tuple[str, ...]:
    if not isinstance(stop, (tuple, list)):
        raise ParameterError(f"stop is {_shown(stop)}; it must be a tuple of strings")
    for text in stop:
        if not isinstance(text, str) or not text:
            raise ParameterError(
                f"stop holds {_shown(text)}; it must hold strings that are not empty"
            )
    return tuple(stop)
