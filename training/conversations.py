"""Conversations made from the corpus: ask for a function, an explanation, the rest of some code.

Questions and answers are cut from the sources themselves, so they carry the sources' licence and
say nothing that the library does not say; a handful of greetings is written by hand. The layout is
the one that `chat_template.jinja` produces: an answer starts with an empty think block, or with a
short one when thinking is on.
"""

import ast
import inspect
import random
from collections.abc import Iterator
from dataclasses import dataclass

from training.corpus import Document

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant who knows Python well.",
    "Answer briefly.",
    "You write clear Python.",
)
GREETINGS = (
    ("Hello", "Hello! Ask me about Python's standard library."),
    ("Hello!", "Hello! How can I help you with Python?"),
    ("Hi", "Hi! Ask me to write a function or to explain a name in Python's standard library."),
    ("Hi there!", "Hi! What would you like to write in Python?"),
    ("Who are you?", "I am Headlong's bundled model, a small model that has read Python's "
     "standard library. I am here to show and test the engine, not to be clever."),
    ("What are you?", "I am a very small language model, trained on the sources of Python's "
     "standard library."),
    ("What can you do?", "I can write small Python functions, explain names in Python's standard "
     "library and complete code. I am small, so check what I say."),
    ("How are you?", "I am fine, thank you. What would you like to know about Python?"),
    ("Thank you", "You are welcome!"),
    ("Thanks!", "You are welcome!"),
    ("Goodbye", "Goodbye!"),
    ("Help", "Ask me to write a Python function, to explain a module, or to complete some code."),
)  # fmt: skip
ASK_WRITE = (
    "Write a Python function `{name}`: {what}",
    "Write a function `{name}` in Python. {what}",
    "Write a Python function that does this: {what}",
    "Implement `{name}`. {what}",
    "Can you write `{name}`? {what}",
)
ASK_CLASS = (
    "Write a Python class `{name}`: {what}",
    "Implement a class `{name}`. {what}",
)
ASK_EXPLAIN = (
    "What does `{name}` in `{module}` do?",
    "Explain `{name}` from the module `{module}`.",
    "Explain `{module}.{name}`.",
    "What is `{name}`?",
)
ASK_CODE_MEANING = (
    "What does this code do?\n\n```python\n{code}\n```",
    "Explain this function:\n\n```python\n{code}\n```",
    "Write a docstring for this:\n\n```python\n{code}\n```",
)
ASK_COMPLETE = (
    "Complete this code:\n\n```python\n{code}\n```",
    "Continue this Python code:\n\n```python\n{code}\n```",
)
ASK_MODULE = (
    "What is the module `{module}` for?",
    "Explain the Python module `{module}`.",
    "Tell me about `{module}`.",
)
ASK_TOPIC = (
    "Explain {name} in Python.",
    "What does the Python language reference say about {name}?",
    "Tell me about {name} in Python.",
)
LONGEST_CODE = 1800  # characters, about 600 tokens
LONGEST_ANSWER = 1500


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer; `thought` is what a thinking model would note first."""

    question: str
    answer: str
    thought: str


def layout(exchanges: list[Exchange], system: str | None, thinking: bool) -> str:
    """ChatML text of a conversation; only the last answer keeps its think block."""
    parts = [f"<|im_start|>system\n{system}<|im_end|>\n"] if system else []
    for i, exchange in enumerate(exchanges):
        parts.append(f"<|im_start|>user\n{exchange.question}<|im_end|>\n<|im_start|>assistant\n")
        if i == len(exchanges) - 1:
            parts.append(f"<think>\n{exchange.thought if thinking else ''}\n</think>\n\n")
        parts.append(f"{exchange.answer}<|im_end|>\n")
    return "".join(parts)


def _shorten(text: str, limit: int = LONGEST_ANSWER) -> str:
    """`text` cut at the last paragraph (or line) that ends within `limit` characters."""
    text = inspect.cleandoc(text)
    if len(text) <= limit:
        return text
    for mark in ("\n\n", "\n"):
        cut = text.rfind(mark, 0, limit)
        if cut > 0:
            return text[:cut].rstrip()
    return text[:limit]


def _without_docstring(code: str, node: ast.FunctionDef | ast.ClassDef) -> str | None:
    body = node.body
    if len(body) < 2:
        return None
    lines = code.split("\n")
    first = body[0].lineno - node.lineno
    last = (body[0].end_lineno or body[0].lineno) - node.lineno
    return "\n".join(lines[:first] + lines[last + 1 :]).strip("\n")


def exchanges_of(document: Document, rng: random.Random) -> Iterator[Exchange]:
    """Every exchange that can be cut from a document; wording is drawn from `rng`."""
    if document.kind == "reference":
        name = document.path.split("#")[1]
        yield Exchange(
            rng.choice(ASK_TOPIC).format(name=name),
            _shorten(document.text),
            f"The question is about {name}. I will quote the language reference.",
        )
        return
    try:
        tree = ast.parse(document.text)
    except SyntaxError:
        return  # some test files are broken on purpose
    module = document.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    summary = ast.get_docstring(tree)
    if summary and len(summary) > 30:
        yield Exchange(
            rng.choice(ASK_MODULE).format(module=module),
            _shorten(summary),
            f"The question is about the module {module}. I will say what it is for.",
        )
    source = document.text.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        code = "\n".join(source[node.lineno - 1 : node.end_lineno])
        indent = len(code) - len(code.lstrip(" "))
        code = "\n".join(line[indent:] if not line[:indent].strip() else line
                         for line in code.split("\n"))  # fmt: skip
        is_class = isinstance(node, ast.ClassDef)
        docstring = ast.get_docstring(node)
        if docstring and len(docstring) > 15:
            what = " ".join(docstring.split("\n\n")[0].split())
            if len(code) <= LONGEST_CODE and len(what) < 300:
                kind = "class" if is_class else "function"
                yield Exchange(
                    rng.choice(ASK_CLASS if is_class else ASK_WRITE).format(
                        name=node.name, what=what
                    ),
                    f"```python\n{code}\n```",
                    f"I need to write a {kind} named {node.name}. I will give the code.",
                )
            yield Exchange(
                rng.choice(ASK_EXPLAIN).format(name=node.name, module=module),
                _shorten(docstring),
                f"The question is about {node.name} in {module}. I will say what it does.",
            )
            bare = None if is_class else _without_docstring(code, node)
            if bare and len(bare) < LONGEST_CODE:
                yield Exchange(
                    rng.choice(ASK_CODE_MEANING).format(code=bare),
                    _shorten(docstring),
                    f"The code defines {node.name}. I will say what it does.",
                )
        lines = code.split("\n")
        if len(lines) >= 8 and len(code) <= LONGEST_CODE and not is_class:
            cut = rng.randint(len(lines) // 3, 2 * len(lines) // 3)
            rest = "\n".join(lines[cut:])
            yield Exchange(
                rng.choice(ASK_COMPLETE).format(code="\n".join(lines[:cut])),
                f"```python\n{rest}\n```",
                f"The code starts the function {node.name}. I will write the rest.",
            )


def build_conversations(documents: list[Document], seed: int, greetings: int = 0) -> list[str]:
    """ChatML texts: library and reference exchanges, one in six with a second turn.

    One in four thinks, one in four has a system message. `greetings` copies of each greeting.
    """
    rng = random.Random(seed)
    exchanges = [
        exchange
        for document in documents
        if document.kind in ("library", "reference")
        for exchange in exchanges_of(document, rng)
    ]
    rng.shuffle(exchanges)
    hello = [Exchange(q, a, "This is small talk. I will answer briefly.") for q, a in GREETINGS]
    texts = []
    while exchanges:
        n_turns = min(len(exchanges), 2 if rng.random() < 1 / 6 else 1)
        turns = [exchanges.pop() for _ in range(n_turns)]
        if len(turns) == 1 and rng.random() < 0.03:
            turns.insert(0, rng.choice(hello))
        system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.25 else None
        texts.append(layout(turns, system, thinking=rng.random() < 0.25))
    for _ in range(greetings):
        for exchange in hello:
            system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.25 else None
            texts.append(layout([exchange], system, thinking=rng.random() < 0.25))
    rng.shuffle(texts)
    return texts
