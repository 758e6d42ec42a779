"""Every error a user can meet, in one family.

A message is one or two sentences: what is wrong, where (file, key, tensor, field), and what to do
next. The command line prints the message alone and the server puts it into its answer, so a
message must stand without a traceback.
"""

__all__ = [
    "ContextError",
    "DownloadError",
    "GGUFError",
    "HeadlongError",
    "ModelError",
    "ParameterError",
    "ServerError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedError",
]


class HeadlongError(Exception):
    """Base of all errors raised on purpose. Catch this to catch them all."""


class GGUFError(HeadlongError):
    """A GGUF file, or something to be written into one, is not well formed."""


class ModelError(HeadlongError):
    """A file is sound GGUF, but not a whole model: a tensor or value is missing or does not fit."""


class UnsupportedError(HeadlongError):
    """A sound file or request that asks for what this version cannot do."""


class TokenizerError(HeadlongError):
    """The vocabulary in the file is inconsistent, or text or ids do not belong to it."""


class TemplateError(HeadlongError):
    """A chat template is broken, or refuses the conversation it was given."""


class ParameterError(HeadlongError):
    """A value given by the user (flag, request field, argument) is not acceptable."""


class ServerError(HeadlongError):
    """A server that was asked is not there, refuses, or does not answer as it should."""


class DownloadError(HeadlongError):
    """A model cannot be fetched: not there, not allowed, not reachable, or no room for it."""


class ContextError(HeadlongError):
    """A sequence does not fit into the context or into the memory set aside for it."""
