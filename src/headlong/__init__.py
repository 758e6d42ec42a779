"""Headlong runs GGUF language models, and answers sooner by multi-token prediction."""

from headlong.engine.chat import ChatChunk, ChatCompletion
from headlong.engine.requests import Chunk, Completion, Timings
from headlong.errors import HeadlongError
from headlong.llm import LLM
from headlong.sampling import SamplingParams
from headlong.speculation import SpeculationStats
from headlong.tokenizer import ToolCall

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "ChatChunk",
    "ChatCompletion",
    "Chunk",
    "Completion",
    "HeadlongError",
    "SamplingParams",
    "SpeculationStats",
    "Timings",
    "ToolCall",
    "__version__",
]
