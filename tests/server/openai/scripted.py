"""Answers that somebody wrote, as the engine would deliver them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headlong.engine.requests import Chunk, Completion, Timings
from headlong.engine.text import TextStream
from headlong.gguf import open_gguf
from headlong.sampling import TokenLogprob
from headlong.speculation import SpeculationStats
from headlong.tokenizer import Tokenizer, Vocabulary
from headlong.tools.demo import bundled_model

TOOLS: list[dict[str, object]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]

CALL = (
    "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
ARGUMENTS = '{"city": "Paris", "days": 3}'

# Knows tools, calls, their results and reasoning.
TOOL_TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>system\\nTools: ' ~ (tools | tojson) ~ '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' ~ message.role ~ '\\n' }}
{%- if message.reasoning_content %}
{{- '<think>' ~ message.reasoning_content ~ '</think>' }}
{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' ~ call.function.name ~ ' ' ~ (call.function.arguments | tojson) }}
{{- '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined %}
{{- '<think>\\n' if enable_thinking else '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}
"""


def bundled_tokenizer() -> Tokenizer:
    with bundled_model() as path, open_gguf(path) as file:
        return Tokenizer(Vocabulary.from_metadata(file.metadata))


def chunks_of_text(
    tokenizer: Tokenizer,
    text: str,
    *,
    per_step: int | Sequence[int] = 3,
    finish_reason: str = "stop",
    prompt: Sequence[int] = (1, 2, 3),
    cached: int = 0,
    top: int = 0,
) -> list[Chunk]:
    """The chunks of an answer: two of reading the prompt, then ``per_step`` tokens in each."""
    tokens = tokenizer.encode(text, add_bos=False)
    if finish_reason == "stop":
        tokens.append(min(tokenizer.eog_ids))
    stream = TextStream(tokenizer, (), special=False)
    chunks = [Chunk("", (), 0, 1), Chunk("", (), 0, len(prompt))]
    stats = SpeculationStats()
    whole = ""
    for step in _steps(tokens, per_step):
        stats.record(3, len(step) - 1 if len(step) <= 4 else 3)
        piece = stream.feed(step).text
        whole += piece
        chunks.append(
            Chunk(
                piece, tuple(step), max(0, len(step) - 1), len(prompt),
                logprobs=tuple(_logprob(token, top) for token in step),
            )
        )  # fmt: skip
    last = chunks.pop()
    rest = stream.flush()
    completion = Completion(
        text=whole + rest,
        tokens=tuple(tokens),
        prompt_tokens=tuple(prompt),
        finish_reason=finish_reason,
        stop=None,
        seed=7,
        stats=stats,
        timings=Timings(len(prompt) - cached, 0.5, len(tokens), 0.25, cached),
    )
    return [
        *chunks,
        Chunk(
            last.text + rest, last.tokens, last.accepted, last.prompt_done, completion,
            logprobs=last.logprobs,
        ),
    ]  # fmt: skip


def _steps(tokens: Sequence[int], sizes: int | Sequence[int]) -> Iterable[Sequence[int]]:
    at, turn = 0, 0
    while at < len(tokens):
        size = sizes if isinstance(sizes, int) else sizes[turn % len(sizes)]
        yield tokens[at : at + size]
        at, turn = at + size, turn + 1


def _logprob(token: int, top: int) -> TokenLogprob:
    others = tuple((other, -1.0 - other) for other in range(top))
    return TokenLogprob(token, -0.5, others)
