"""Headlong runs GGUF language models, and answers sooner by multi-token prediction.

Names are loaded when first used, so that ``headlong --help`` need not wait for an engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headlong.engine.chat import ChatChunk, ChatCompletion
    from headlong.engine.requests import Chunk, Completion, Timings
    from headlong.errors import HeadlongError
    from headlong.llm import LLM
    from headlong.sampling import Grammar, SamplingParams, TokenLogprob
    from headlong.speculation import SpeculationStats
    from headlong.tokenizer import ToolCall

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "ChatChunk",
    "ChatCompletion",
    "Chunk",
    "Completion",
    "Grammar",
    "HeadlongError",
    "SamplingParams",
    "SpeculationStats",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "__version__",
]

_HOMES = {
    "LLM": "headlong.llm",
    "ChatChunk": "headlong.engine.chat",
    "ChatCompletion": "headlong.engine.chat",
    "Chunk": "headlong.engine.requests",
    "Completion": "headlong.engine.requests",
    "Grammar": "headlong.sampling",
    "HeadlongError": "headlong.errors",
    "SamplingParams": "headlong.sampling",
    "SpeculationStats": "headlong.speculation",
    "Timings": "headlong.engine.requests",
    "TokenLogprob": "headlong.sampling",
    "ToolCall": "headlong.tokenizer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'headlong' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
