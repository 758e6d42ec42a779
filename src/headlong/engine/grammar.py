"""Grammars at work: compiled for a vocabulary, and followed token by token.

The grammar engine is llguidance, which works on the bytes of tokens: any spelling of a text is let
through, characters cut between tokens too.  It is loaded when the first grammar comes.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import numpy as np

from headlong.errors import HeadlongError, ParameterError
from headlong.sampling import Grammar, TokenMask
from headlong.sampling.lark import WHITE_SPACE
from headlong.tokenizer import Tokenizer, TokenType

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarCompiler", "GrammarState"]

_KEPT_GRAMMARS: Final = 32
"""Compiled grammars that are kept: the same one mostly comes again."""

_KEPT_MASKS: Final = 64
"""Masks of the newest tokens that are kept: more than a draft and its verification look at."""

_STACK: Final = 512 << 20
"""Bytes of stack for compiling, which recurses as deeply as a grammar's rules follow each other:
some kilobytes for a rule, of which a grammar of `MOST_GRAMMAR_BYTES` can hold 40,000.  Only what is
used of it becomes memory."""

_COMPILE_SECONDS: Final = 10.0
"""After so long a grammar is refused, though what was begun cannot be stopped."""

_MOST_AT_ONCE: Final = 2
"""Grammars that are compiled at the same time, abandoned ones included."""

_LEXER_STATES: Final = 50_000
"""States of the lexer of one request: at some 2 KB each, 100 MB."""

_MOST_INTERSECTIONS: Final = 10
"""Patterns that one text must match all at once, counted over a whole grammar: what they cost
doubles with each."""

_MOST_RULES: Final = 1000
_MOST_PATTERN: Final = 8192
_MOST_QUOTED: Final = 10_000
"""Definitions of a grammar, characters of one regular expression, texts and expressions in all:
compiling takes milliseconds and some MB up to here, up to minutes and a GB for several times as
many."""

_LARK_RULE: Final = re.compile(r"^\s*[?!]?[\w-]+\s*(?:\[[^\n]*\])?\s*:", re.MULTILINE)
_LARK_QUOTED: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])*/|//[^\n]*')
_SMALL_ESCAPE: Final = re.compile(r"(\\\\)|\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")

# A block of reasoning, and then the answer, which is a grammar of its own.
_REASONING: Final = r"""
start: reasoning /\n{0,2}/ @answer
reasoning[suffix="</think>"]: /(?s:.*)/
"""


class GrammarState:
    """Where in a grammar an answer stands, token by token.

    Like `TokenHistory` it goes ahead with drafts and is cut back again.  What drafting went through
    is remembered: tokens that turn out to be the answer's, and the masks after them, cost nothing
    a second time.
    """

    def __init__(self, pristine: LLMatcher, size: int) -> None:
        """``pristine``: a matcher that has consumed nothing; ``size`` of the vocabulary."""
        self._pristine = pristine
        self._matcher = pristine.deep_copy()
        self._size = size
        self._words = (size + 31) // 32
        self._consumed: list[int] = []  # by the matcher
        self._length = 0  # of these, the answer so far
        self._masks: dict[int, TokenMask] = {}  # by the number of tokens before
        self._ends = {0: self._matcher.is_stopped()}

    def __len__(self) -> int:
        return self._length

    def mask(self) -> TokenMask:
        """Which tokens may come next; ends of generation among them where the answer may end.

        Raises `HeadlongError` where the grammar has become too complex to follow.
        """
        known = self._masks.get(self._length)
        if known is not None:
            return known
        self._align()
        bits = np.zeros(4 * self._words, np.uint8)
        self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        if self._matcher.is_error():
            self._restart()
            self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
            self._check()
        mask = TokenMask(bits, self._size)
        self._masks[self._length] = mask
        self._masks.pop(self._length - _KEPT_MASKS, None)
        return mask

    @property
    def complete(self) -> bool:
        """Whether nothing may follow: the answer ends here."""
        return self._ends[self._length]

    def append(self, token: int) -> None:
        """Go on with a token that the mask let through.

        Raises `HeadlongError` where the grammar has become too complex to follow.
        """
        if self._length < len(self._consumed) and self._consumed[self._length] == token:
            self._length += 1
            return
        self._align()
        if not self._matcher.consume_token(token):
            self._restart()
            self._matcher.consume_token(token)
            self._check()
        self._consumed.append(token)
        self._length += 1
        self._ends[self._length] = self._matcher.is_stopped()
        self._ends.pop(self._length - _KEPT_MASKS, None)

    def truncate(self, length: int) -> None:
        """Keep the first ``length`` tokens."""
        assert 0 <= length <= self._length
        self._length = length

    def _align(self) -> None:
        """Bring the matcher to where the answer stands."""
        ahead = len(self._consumed) - self._length
        if not ahead:
            return
        del self._consumed[self._length :]
        for known in (self._masks, self._ends):
            for length in [n for n in known if n > self._length]:
                del known[length]
        if not self._matcher.rollback(ahead):
            self._restart()

    def _restart(self) -> None:
        """A matcher that met one of its limits stays broken; what drafting did must not matter."""
        self._matcher = self._pristine.deep_copy()
        self._matcher.consume_tokens(self._consumed)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise HeadlongError(
                f"the grammar cannot be followed any further: {_reason(self._matcher.get_error())}"
            )


class GrammarCompiler:
    """Compiles grammars for one vocabulary; safe to use from several threads.

    ``size``: columns of the model's logits, of which the vocabulary may be the first part.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._vocabulary: LLTokenizer | None = None
        self._building = threading.Lock()
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def start(self, grammar: Grammar) -> GrammarState:
        """A state at the beginning of the grammar.

        Raises `ParameterError` with the compiler's reason.
        """
        return GrammarState(self._find(grammar), self._size)

    def check(self, grammar: Grammar) -> None:
        """Raise `ParameterError` with the compiler's reason where a grammar makes no sense."""
        self._find(grammar)

    def _find(self, grammar: Grammar) -> LLMatcher:
        with self._lock:
            found = self._compiled.get(grammar)
            if found is not None:
                self._compiled.move_to_end(grammar)
                return found
        made = self._compile(_source(grammar))
        with self._lock:
            self._compiled[grammar] = made
            while len(self._compiled) > _KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
        return made

    def _compile(self, source: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        vocabulary = self._vocabulary_bytes()
        limits = LLParserLimits(max_lexer_states=_LEXER_STATES, verbose_errors=False)
        made: list[LLMatcher] = []

        def compile() -> None:
            try:
                made.append(LLMatcher(vocabulary, source, log_level=0, limits=limits))
            finally:
                self._places.release()

        if not self._places.acquire(timeout=_COMPILE_SECONDS):
            raise HeadlongError("other grammars are still being compiled; try again later.")
        thread = threading.Thread(target=compile, name="grammar", daemon=True)
        with self._lock:
            before = threading.stack_size(_STACK)
            try:
                thread.start()
            except RuntimeError as error:
                self._places.release()
                raise HeadlongError(f"no thread to compile the grammar on: {error}") from None
            finally:
                threading.stack_size(before)
        thread.join(_COMPILE_SECONDS)
        if not made:
            raise ParameterError(
                f"grammar: it takes more than {_COMPILE_SECONDS:.0f} s to compile; simplify it"
            )
        matcher = made[0]
        if matcher.is_error():
            raise ParameterError(f"grammar: {_reason(matcher.get_error())}")
        try:
            first = GrammarState(matcher, self._size).mask()
        except HeadlongError as error:
            raise ParameterError(str(error)) from None
        if not first.count:
            raise ParameterError("grammar: no text of this model's vocabulary matches it")
        return matcher

    def _vocabulary_bytes(self) -> LLTokenizer:
        """The vocabulary as llguidance reads it; built once, a quarter of a second for 248,320."""
        with self._building:
            if self._vocabulary is None:
                from llguidance import LLTokenizer, TokenizerWrapper

                ends = sorted(self._tokenizer.eog_ids)
                if not ends:
                    raise ParameterError(
                        "grammar: this model's vocabulary has no token that ends an answer"
                    )
                self._vocabulary = LLTokenizer(
                    TokenizerWrapper(_Vocabulary(self._tokenizer, ends[0])),
                    n_vocab=self._size,
                    eos_token=ends,
                )
            return self._vocabulary


class _Vocabulary:
    """A tokenizer in the form that llguidance asks for.

    Tokens of no bytes are never let through; those of no text, control tokens, only where a
    grammar names them.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos: int) -> None:
        kinds = tokenizer.vocabulary.kinds()
        special = (TokenType.CONTROL, TokenType.UNKNOWN)
        self.eos_token_id = eos
        self.special_token_ids = [i for i, kind in enumerate(kinds) if kind in special]
        self.tokens = [_bytes(tokenizer, i, kind) for i, kind in enumerate(kinds)]
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        plain = text if isinstance(text, str) else text.decode(errors="replace")
        return self._encode(plain, special=False, add_bos=False)


def _bytes(tokenizer: Tokenizer, token: int, kind: TokenType) -> bytes:
    if kind in (TokenType.UNUSED, TokenType.UNDEFINED):
        return b""
    data = tokenizer.token_bytes(token)
    # No UTF-8 holds this byte, which llguidance marks special tokens with.
    return b"" if b"\xff" in data else data


def _source(grammar: Grammar) -> str:
    """What llguidance compiles.  Raises `ParameterError` for what it should not be given."""
    part: dict[str, object]
    if grammar.form == "json schema":
        schema = json.loads(grammar.source)
        _check_schema(schema)
        if isinstance(schema, dict):
            schema = {"x-guidance": {"whitespace_pattern": WHITE_SPACE}, **schema}
        part = {"json_schema": schema}
    else:
        lark = _lark_of(grammar.source) if grammar.form == "gbnf" else grammar.source
        _check_lark(lark)
        part = {"lark_grammar": lark}
    parts = [part]
    if grammar.calls is not None:
        calls: dict[str, object] = {"name": "calls", "lark_grammar": grammar.calls}
        parts = [{"lark_grammar": "start: @form | @calls"}, {"name": "form", **part}, calls]
    if grammar.reasoning:
        parts = [{"lark_grammar": _REASONING}, {"name": "answer", **parts[0]}, *parts[1:]]
    return json.dumps({"grammars": parts})


def _lark_of(gbnf: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    text = _SMALL_ESCAPE.sub(_character, gbnf.replace("\r\n", "\n"))
    try:
        return gbnf_to_lark(text)
    except RecursionError:
        raise ParameterError("grammar: it is nested too deeply") from None
    except Exception as error:  # the converter raises several kinds, Exception itself among them
        raise ParameterError(f"grammar: {_reason(str(error))}") from None


def _character(escape: re.Match[str]) -> str:
    """A character instead of its escape, where it means nothing to the notation."""
    code = int(escape[2] or escape[3] or "0", 16)
    if escape[1] or not 0x80 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return escape[0]
    return chr(code)


def _check_lark(lark: str) -> None:
    """Refuse what could be compiled for minutes."""
    bare = _LARK_QUOTED.sub("", lark)
    if bare.count("&") > _MOST_INTERSECTIONS:
        raise ParameterError(f"grammar: more than {_MOST_INTERSECTIONS} intersections (&)")
    if len(_LARK_RULE.findall(bare)) > _MOST_RULES:
        raise ParameterError(f"grammar: more than {_MOST_RULES} definitions")
    pieces = _LARK_QUOTED.findall(lark)
    if len(pieces) > _MOST_QUOTED:
        raise ParameterError(f"grammar: more than {_MOST_QUOTED} texts and regular expressions")
    for quoted in pieces:
        if quoted[0] == "/" and quoted[:2] != "//":
            _check_pattern(quoted)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _MOST_PATTERN:
        raise ParameterError(
            f"grammar: a regular expression of {len(pattern)} characters; "
            f"at most {_MOST_PATTERN} are taken"
        )


def _check_schema(schema: object) -> None:
    """Refuse a schema that could be compiled for minutes.

    Such is one that asks one text to match many patterns at once, or a very long one.
    """
    branches = patterns = 0
    waiting: list[object] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            every = value.get("allOf")
            branches += len(every) if isinstance(every, list) else 0
            patterns += "pattern" in value or "format" in value
            if isinstance(value.get("pattern"), str):
                _check_pattern(value["pattern"])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    if min(branches, patterns) > _MOST_INTERSECTIONS:
        raise ParameterError(
            f"grammar: a schema with {branches} branches of allOf and {patterns} patterns or "
            f"formats; of one of them at most {_MOST_INTERSECTIONS} are taken"
        )


def _reason(message: str) -> str:
    """The first line of what the grammar engine says, where it says more."""
    lines = message.strip().splitlines() or ["no reason given"]
    first = lines[0].strip()[:300]
    return "no text leads to an end" if first == "NoExtensionBias" else first
