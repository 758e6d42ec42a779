"""Headlong runs GGUF language models, and answers sooner by multi-token prediction."""

from headlong.engine.requests import Chunk, Completion, Timings
from headlong.errors import HeadlongError
from headlong.llm import LLM
from headlong.sampling import SamplingParams
from headlong.speculation import SpeculationStats

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "Chunk",
    "Completion",
    "HeadlongError",
    "SamplingParams",
    "SpeculationStats",
    "Timings",
    "__version__",
]
