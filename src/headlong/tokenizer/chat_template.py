"""Turn a conversation into a prompt with the chat template of the model's file.

What templates are offered follows transformers, for which they are written; what they may cost is
bounded (see `sandbox`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

import jinja2
from jinja2 import meta

from headlong.errors import ParameterError, TemplateError
from headlong.tokenizer.messages import (
    JSONObject,
    copied_json,
    copied_messages,
    copied_tools,
)
from headlong.tokenizer.meter import Meter
from headlong.tokenizer.quoting import choose_mark, marked, unmarked
from headlong.tokenizer.sandbox import TemplateSandbox
from headlong.tokenizer.tokenizer import Tokenizer
from headlong.tokenizer.tool_arguments import JSONValue

__all__ = ["CHATML", "ChatTemplate", "RenderedPrompt"]

# For vocabularies that have ChatML's tokens and files that have no template.
CHATML: Final = """\
{%- for message in messages %}
    {%- if message.role not in ('system', 'user', 'assistant') or message.tool_calls %}
        {{- raise_exception('Without a template of its own, the model takes no tool calls and '
                            'no messages but those of system, user and assistant.') }}
    {%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# Published templates have up to 30 thousand characters.
_MAX_SOURCE: Final = 1 << 17

_GIVEN: Final = frozenset(
    (
        *("messages", "tools", "add_generation_prompt"),
        *("bos_token", "eos_token", "pad_token", "unk_token"),
    )
)

_PROBES: Final[tuple[JSONValue, JSONValue]] = ({"needle": "hay"}, '{"needle": "hay"}')


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt, and where in it control tokens are only quoted by the conversation.

    To be encoded with `tokenizer.encode(prompt.text, literal=prompt.literal)`.
    """

    text: str
    literal: frozenset[int] = frozenset()


class ChatTemplate:
    """A compiled chat template. Safe to share between threads; renderings take turns.

    Args:
        source: the template, in Jinja's language as transformers uses it.
        control_texts: texts of the vocabulary's control tokens, which messages may only quote.
        special_tokens: what the template reads as `bos_token`, `eos_token`, ...
        now: the clock behind `strftime_now`.

    Raises `TemplateError` for a template that cannot be compiled.
    """

    def __init__(
        self,
        source: str,
        *,
        control_texts: Collection[str] = (),
        special_tokens: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        if len(source) > _MAX_SOURCE:
            raise TemplateError(
                f"the chat template has {len(source)} characters; at most {_MAX_SOURCE}"
            )
        self.source: Final = source
        """The template's text."""
        self._sandbox = TemplateSandbox(now)
        self._lock = threading.Lock()
        try:
            self._template = self._sandbox.from_string(source)
            names = meta.find_undeclared_variables(self._sandbox.parse(source))
        except TemplateError:
            raise
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template is not valid in line {error.lineno}: {error.message}"
            ) from None
        except Exception as error:  # nested too deeply for Jinja or for Python's compiler
            raise TemplateError(
                f"the chat template cannot be compiled: {type(error).__name__}: {error!s:.200}"
            ) from None
        self.variables: Final = frozenset(names - self._sandbox.globals.keys() - _GIVEN)
        """Names of further variables that the template reads, such as `enable_thinking`."""
        self.takes_tools: Final = "tools" in names
        """Whether the template has a place for tools."""
        self._special_tokens = dict(special_tokens or {})
        self._controls = (
            re.compile("|".join(map(re.escape, sorted(control_texts, key=len, reverse=True))))
            if control_texts
            else None
        )
        self._arguments_as_text: bool | None = None

    @classmethod
    def for_tokenizer(
        cls,
        tokenizer: Tokenizer,
        *,
        source: str | None = None,
        name: str | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> Self:
        """The template to use with a vocabulary.

        Args:
            tokenizer: gives the special tokens and, by default, the file's template.
            source: a template of the user's that takes the place of the file's.
            name: one of the file's further templates (`tokenizer.chat_template.NAME`).

        Raises:
            TemplateError: there is none, and the vocabulary does not know ChatML's tokens.
            ParameterError: there is none of that name.
        """
        vocabulary = tokenizer.vocabulary
        if source is None and name is not None:
            source = vocabulary.named_chat_templates.get(name)
            if source is None:
                known = ", ".join(sorted(vocabulary.named_chat_templates)) or "none"
                raise ParameterError(f"the file has no chat template {name!r}; it has: {known}")
        if source is None:
            source = vocabulary.chat_template
        if source is None:
            if None in map(tokenizer.special_id, ("<|im_start|>", "<|im_end|>")):
                named = ", ".join(sorted(vocabulary.named_chat_templates))
                raise TemplateError(
                    "the file has no chat template, and its vocabulary lacks ChatML's tokens; "
                    + (f"choose one of its named ones: {named}" if named else "pass a template")
                )
            source = CHATML
        ids = {
            "bos_token": vocabulary.bos_id,
            "eos_token": vocabulary.eos_id,
            "pad_token": vocabulary.padding_id,
            "unk_token": vocabulary.unknown_id,
        }
        return cls(
            source,
            control_texts=tokenizer.control_texts,
            special_tokens={
                key: vocabulary.tokens[token] for key, token in ids.items() if token is not None
            },
            now=now,
        )

    def names(self, role: str) -> bool:
        """Whether the template has the name of a role in it, and so may treat it apart."""
        return f"'{role}'" in self.source or f'"{role}"' in self.source

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        variables: Mapping[str, object] | None = None,
    ) -> RenderedPrompt:
        """The prompt for a conversation.

        Args:
            messages: in OpenAI's form.
            tools: in OpenAI's form.
            add_generation_prompt: end with the beginning of the assistant's answer.
            variables: further variables (`chat_template_kwargs`), e.g. `enable_thinking`.

        Raises:
            ParameterError: messages, tools or variables are malformed, or the template reads no
                such variable or no tools.
            UnsupportedError: a message holds something else than text.
            TemplateError: the template refuses the conversation, fails, or costs too much.
        """
        given = dict(variables or {})
        for name in given:
            if name in _GIVEN:
                raise ParameterError(f"chat_template_kwargs: {name!r} is set by the engine")
            if name not in self.variables:
                known = ", ".join(sorted(self.variables)) or "none"
                raise ParameterError(
                    f"chat_template_kwargs: the chat template reads no variable {name!r}; "
                    f"it reads: {known}"
                )
        if tools and not self.takes_tools:
            raise ParameterError("tools: the model's chat template has no place for tools")
        copied = copied_messages(messages)
        if any(message.get("tool_calls") for message in copied) and self._wants_arguments_as_text():
            copied = copied_messages(messages, arguments_as_text=True)
        data: JSONObject = {
            "messages": [*copied],
            "tools": [*copied_tools(tools)] if tools else None,
            "variables": copied_json(given, "chat_template_kwargs"),
        }
        mark = choose_mark(data, self._controls, self.source) if self._controls else None
        if mark is None or self._controls is None:
            return RenderedPrompt(self._run(data, add_generation_prompt))
        data = {key: marked(item, self._controls, mark) for key, item in data.items()}
        return RenderedPrompt(*unmarked(self._run(data, add_generation_prompt), mark))

    def _run(self, data: JSONObject, add_generation_prompt: bool) -> str:
        variables = data["variables"]
        assert isinstance(variables, dict)
        meter = Meter()
        weight = sum(map(meter.weigh, data.values()))
        with self._lock:
            meter = self._sandbox.meter = Meter(weight)
            try:
                context = self._template.new_context(
                    self._special_tokens
                    | variables
                    | {
                        "messages": data["messages"],
                        "tools": data["tools"],
                        "documents": variables.get("documents"),
                        "add_generation_prompt": add_generation_prompt,
                    }
                )
                pieces: list[str] = []
                length = 0
                for piece in self._template.root_render_func(context):
                    pieces.append(piece)
                    length += len(piece)
                    if length > meter.value_limit:
                        meter.allow(length)
                return "".join(pieces)
            except TemplateError:
                raise
            except Exception as error:  # whatever a template does wrong, it is the template's
                raise TemplateError(self._failure(error)) from None
            finally:
                self._sandbox.meter = Meter()

    def _failure(self, error: Exception) -> str:
        line = None
        trace = error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return (
            f"the chat template failed{f' in line {line}' if line else ''}: "
            f"{what[:300] or type(error).__name__}"
        )

    def _wants_arguments_as_text(self) -> bool:
        """Whether the template prints tool-call arguments instead of reading them.

        Templates disagree, and say so only by what comes out: an object shows as Python writes it,
        or not at all, where text was expected.
        """
        if self._arguments_as_text is not None:
            return self._arguments_as_text
        found: list[bool] = []
        for arguments in _PROBES:
            function: JSONValue = {"name": "probe", "arguments": arguments}
            call: JSONValue = {"id": "probe0000", "type": "function", "function": function}
            data: JSONObject = {
                "messages": [
                    {"role": "user", "content": "probe"},
                    {"role": "assistant", "content": "", "tool_calls": [call]},
                ],
                "tools": None,
                "variables": {},
            }
            try:
                text = self._run(data, add_generation_prompt=False)
            except TemplateError:
                found.append(False)
            else:
                found.append("needle" in text and "{'needle'" not in text)
        reads_objects, prints_text = found
        self._arguments_as_text = prints_text and not reads_objects
        return self._arguments_as_text
