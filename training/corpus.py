"""The training text: the Python standard library's own sources, as files and as conversations.

Everything comes from the interpreter that runs this file, so the corpus needs no download. About
2 % of the files, chosen by a hash of their path, are never trained on; conversations made from
them are held out too.
"""

import ast
import hashlib
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED_FOLDERS = {"site-packages", "__pycache__", "data", "cjkencodings"}
TOPICS = "pydoc_data/topics.py"
HELD_OUT_ONE_IN = 50
# Generated data deflates to a few per cent of its size; ordinary sources stay above 0.15.
LEAST_COMPRESSED_SHARE = 0.13
# The character tables of `encodings` make a fifth of the library and teach little but hexadecimal.
TABLE_MARKS = ("decoding_table", "decoding_map")
MOST_DIGITS = 0.12  # share of digits from which a file counts as a table too


@dataclass(frozen=True, slots=True)
class Document:
    """One text; `path` is relative to the library.

    `kind` is "library", "tests", "reference" (a topic of the language reference) or "tables".
    """

    path: str
    kind: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether this document is kept for validation: one path in fifty, by SHA-1."""
        digest = hashlib.sha1(self.path.encode()).digest()
        return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0


def read_topics(source: str) -> Iterator[tuple[str, str]]:
    """(name, text) of every language-reference topic in the source of pydoc_data/topics.py."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            yield from ast.literal_eval(node.value).items()


def kind_of(path: Path, text: str) -> str:
    """What sort of text a source file is."""
    if any(part in ("test", "tests", "idle_test") for part in path.parts):
        return "tests"
    is_codec = path.parts[0] == "encodings" and any(mark in text for mark in TABLE_MARKS)
    if is_codec or sum(map(str.isdigit, text)) > MOST_DIGITS * len(text):
        return "tables"
    return "library"


def read_documents(library: Path | None = None) -> list[Document]:
    """Every usable source file, sorted by path, and the language reference topic by topic."""
    library = library or Path(sysconfig.get_paths()["stdlib"])
    documents = []
    for file in sorted(library.rglob("*.py")):
        path = file.relative_to(library)
        if SKIPPED_FOLDERS.intersection(path.parts):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a test file in another encoding
        if path.as_posix() == TOPICS:
            for name, topic in read_topics(text):
                documents.append(Document(f"{TOPICS}#{name}", "reference", topic.strip() + "\n"))
            continue
        raw = text.encode()
        if len(raw) < 64 or len(zlib.compress(raw)) < LEAST_COMPRESSED_SHARE * len(raw):
            continue
        documents.append(Document(path.as_posix(), kind_of(path, text), text))
    return documents
