"""The flags that say what an answer must look like, under llama.cpp's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.options import flag_named
from headlong.cli.prompt_text import read_text
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.llm import LLM
    from headlong.sampling import Grammar, SamplingParams

__all__ = ["GrammarFlags"]

_GRAMMAR: Final = "Form of the answer"


@dataclass(frozen=True, slots=True)
class GrammarFlags:
    """At most one grammar or JSON schema, as text or from a file."""

    grammar: Annotated[
        str | None,
        typer.Option(
            "--grammar",
            metavar="TEXT",
            help="A grammar that the answer follows, in GBNF or Lark.",
            rich_help_panel=_GRAMMAR,
        ),
    ] = None
    grammar_file: Annotated[
        Path | None,
        typer.Option(
            "--grammar-file",
            metavar="FILE",
            help="Read the grammar from a file.",
            rich_help_panel=_GRAMMAR,
        ),
    ] = None
    json_schema: Annotated[
        str | None,
        typer.Option(
            "-j",
            "--json-schema",
            metavar="JSON",
            help="A schema of the JSON that is answered; '{}': any JSON object.",
            rich_help_panel=_GRAMMAR,
        ),
    ] = None
    json_schema_file: Annotated[
        Path | None,
        typer.Option(
            "-jf",
            "--json-schema-file",
            metavar="FILE",
            help="Read the schema from a file.",
            rich_help_panel=_GRAMMAR,
        ),
    ] = None

    def add_to(self, params: SamplingParams) -> SamplingParams:
        """The settings with the grammar, if one is given.  Raises `ParameterError`."""
        flag, read = self._given()
        if flag is None:
            return params
        with flag_named(flag):
            return replace(params, grammar=read())

    def check(self, llm: LLM, params: SamplingParams) -> None:
        """Raise `ParameterError` that names the flag if the grammar cannot be compiled."""
        flag, _ = self._given()
        if flag is not None and params.grammar is not None:
            with flag_named(flag):
                llm.check_grammar(params.grammar)

    def _given(self) -> tuple[str | None, Callable[[], Grammar]]:
        """The flag that was given, and what makes the grammar of it."""
        from headlong.sampling import Grammar

        def schema(text: str) -> Grammar:
            # An empty schema would allow any JSON value; llama.cpp means an object.
            return Grammar.json_object() if text.strip() == "{}" else Grammar.json_schema(text)

        makers: dict[str, tuple[str | Path | None, Callable[[str], Grammar]]] = {
            "--grammar": (self.grammar, Grammar.text),
            "--grammar-file": (self.grammar_file, Grammar.text),
            "--json-schema": (self.json_schema, schema),
            "--json-schema-file": (self.json_schema_file, schema),
        }
        given = [flag for flag, (value, _) in makers.items() if value is not None]
        if len(given) > 1:
            raise ParameterError(f"{given[0]} and {given[1]} exclude each other; use one of them.")
        if not given:
            return None, Grammar.json_object
        value, make = makers[given[0]]
        return given[0], lambda: make(read_text(value) if isinstance(value, Path) else value or "")
