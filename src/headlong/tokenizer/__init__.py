"""Text in and out: ids, streaming, stop strings, chat templates, reasoning and tool calls."""

from headlong.tokenizer.chat_template import ChatTemplate, RenderedPrompt
from headlong.tokenizer.reasoning import ReasoningDelta, ReasoningParser, opens_reasoning
from headlong.tokenizer.stop import StopMatcher
from headlong.tokenizer.stream import StreamDecoder
from headlong.tokenizer.tokenizer import Tokenizer
from headlong.tokenizer.tool_calls import (
    ToolCall,
    ToolCallDelta,
    ToolCallParser,
    ToolCallPiece,
)
from headlong.tokenizer.vocabulary import TokenType, Vocabulary

__all__ = [
    "ChatTemplate",
    "ReasoningDelta",
    "ReasoningParser",
    "RenderedPrompt",
    "StopMatcher",
    "StreamDecoder",
    "TokenType",
    "Tokenizer",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallParser",
    "ToolCallPiece",
    "Vocabulary",
    "opens_reasoning",
]
