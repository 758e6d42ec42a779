"""Text in and out: token ids, streaming text, stop strings, reasoning and tool calls."""

from headlong.tokenizer.reasoning import ReasoningDelta, ReasoningParser, opens_reasoning
from headlong.tokenizer.stop import StopMatcher
from headlong.tokenizer.stream import StreamDecoder
from headlong.tokenizer.tokenizer import Tokenizer
from headlong.tokenizer.tool_calls import ToolCall, ToolCallDelta, ToolCallParser
from headlong.tokenizer.vocabulary import TokenType, Vocabulary

__all__ = [
    "ReasoningDelta",
    "ReasoningParser",
    "StopMatcher",
    "StreamDecoder",
    "TokenType",
    "Tokenizer",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallParser",
    "Vocabulary",
    "opens_reasoning",
]
