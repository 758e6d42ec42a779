"""Built-in prompts of the tools: different kinds of text, for a draft is easy in some."""

from __future__ import annotations

from typing import Final

__all__ = ["DEMO_PROMPT", "VERIFY_PROMPTS"]

DEMO_PROMPT: Final = '''\
class Reader:
    """Read records from a file."""

    def __init__(self, file):
        self.file = file

    def read(self):
'''

VERIFY_PROMPTS: Final = (
    # Code, in which much of the next line is foreseeable.
    '''\
class Stack:
    """A stack of items; the last one pushed is the first one popped."""

    def __init__(self):
        self.items = []

    def push(self, item):
''',
    # Prose.
    "The lighthouse keeper climbed the stairs every evening, and on the night of the storm he",
    # A list, whose form repeats while its words do not.
    "Seven things to check before a long journey by bicycle:\n1. The tyres\n2. The brakes\n3.",
    # Data: punctuation and digits.
    '{"stations": [{"name": "North Pier", "depth_m": 4.2, "open": true}, {"name": "',
    # Other scripts, whose characters take several bytes and tokens.
    "Übersetzung – Traduction – 翻訳 – перевод:\nthe sea = das Meer, la mer, 海, море\nthe moon =",
    # A conversation in one of the common forms.
    "Question: Why does the kettle get louder, and then quieter, before it boils?\nAnswer:",
)
