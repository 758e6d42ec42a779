"""What an answer must look like: the wish, as a request carries it.

Compiling and following a grammar needs the model's vocabulary and is done by the engine
(`headlong.engine.grammar`); here a wish is only written down in one of two forms: a grammar in
Lark's notation as llguidance extends it, or a JSON schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from headlong.errors import ParameterError
from headlong.sampling.lark import json_text, literal, regex
from headlong.sampling.tool_grammar import tool_call_rules

__all__ = ["MOST_GRAMMAR_BYTES", "Grammar"]

MOST_GRAMMAR_BYTES: Final = 256 * 1024
"""A longer grammar is refused: what compiling costs grows with its text, mostly faster."""

_GBNF: Final = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)

Form = Literal["gbnf", "lark", "json schema"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar that an answer must match, made by one of the class methods.

    ``form`` says how ``source`` is to be read; ``reasoning``: the answer begins inside a reasoning
    block, whose text is free; ``calls``: rules in Lark of calls that may come instead.  Raises
    `ParameterError` for what cannot be written down; whether a grammar makes sense is known when it
    is compiled (`LLM.check_grammar`).
    """

    form: Form
    source: str
    reasoning: bool = False
    calls: str | None = None

    def __post_init__(self) -> None:
        """Refuses what is empty, no text, or too long to be compiled."""
        if not isinstance(self.source, str) or not self.source.strip():
            raise ParameterError("the grammar is empty; leave it out or say what may be answered")
        try:
            size = len((self.source + (self.calls or "")).encode())
        except UnicodeEncodeError:
            raise ParameterError("the grammar holds a lone surrogate, no character") from None
        if size > MOST_GRAMMAR_BYTES:
            raise ParameterError(
                f"the grammar has {size} bytes; at most {MOST_GRAMMAR_BYTES} are taken"
            )

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: Mapping[str, object] | bool | str) -> Grammar:
        """JSON that a schema describes; the schema as a mapping or as JSON text.

        Keys of objects come in the order of the schema.  Between two tokens of JSON stands at most
        one space, or one line break with up to 20 spaces or tabs after it.
        """
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError) as error:
                raise ParameterError(f"the JSON schema is not JSON: {error}") from None
        if not isinstance(schema, Mapping | bool):
            raise ParameterError(
                "the JSON schema is neither an object nor a boolean; a schema looks like "
                '{"type": "object", "properties": ...}'
            )
        return cls("json schema", json_text(schema, "the JSON schema"))

    @classmethod
    def text(cls, text: str) -> Grammar:
        """A grammar in GBNF (llama.cpp) or Lark (as llguidance extends it), told apart by itself.

        GBNF has definitions with ``::=``, of which ``root`` is the answer; in Lark it is ``start``.
        """
        if not isinstance(text, str):
            raise ParameterError("the grammar is no text; give it in GBNF or Lark")
        return cls("gbnf" if _GBNF.search(text) else "lark", text)

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that a regular expression (Rust's syntax) matches as a whole."""
        if not isinstance(pattern, str) or not pattern:
            raise ParameterError("the regular expression is empty, or no text")
        return cls("lark", f"start: {regex(pattern)}\n")

    @classmethod
    def choice(cls, choices: Iterable[str]) -> Grammar:
        """One of these texts."""
        texts = [choices] if isinstance(choices, str) else list(choices)
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise ParameterError("choices must be texts that are not empty, at least one")
        # One terminal, however many there are: alternatives of a rule cost time at every token.
        return cls("lark", "start: CHOICE\nCHOICE: " + " | ".join(map(literal, texts)) + "\n")

    @classmethod
    def tool_calls(
        cls,
        tools: Sequence[Mapping[str, object]],
        names: Collection[str] | None = None,
        parallel: bool = True,
    ) -> Grammar:
        """Calls of tools in the XML form that `headlong.tokenizer.ToolCallParser` reads.

        ``tools`` in OpenAI's form; ``names``: those that may be called (default: all).  At least
        one call, and with ``parallel`` any number.  Arguments come in the order of the schema, the
        required ones always; strings are bare text, other types JSON.
        """
        return cls("lark", tool_call_rules(tools, names, parallel))

    def or_tool_calls(
        self, tools: Sequence[Mapping[str, object]], parallel: bool = True
    ) -> Grammar:
        """An answer of this form, or calls of tools as in `tool_calls`."""
        return replace(self, calls=tool_call_rules(tools, None, parallel))

    def after_reasoning(self) -> Grammar:
        """The same for an answer whose prompt opened a reasoning block.

        Its text is free until `</think>`; up to two line breaks may follow the tag.
        """
        return replace(self, reasoning=True)
