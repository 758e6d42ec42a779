"""How much of a text the trimmed draft head can say: the measurement behind its K.

A token can be drafted if its id is below K or it has been met in the conversation.  What cannot be
drafted costs a rejected draft, what K costs is read by every draft step.  For each K this prints
the share of tokens within reach, over documents cut to the length of a conversation.

    python -m benchmarks.draft_vocabulary vocabulary.gguf
    python -m benchmarks.draft_vocabulary vocabulary.gguf --text notes.md letters/*.txt

Without ``--text`` it reads Python's own library: modules as code, its reference topics as prose.
"""

from __future__ import annotations

import argparse
import json
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from headlong.errors import HeadlongError
from headlong.gguf import open_gguf
from headlong.tokenizer import Tokenizer, Vocabulary

LEADING = (4096, 8192, 16384, 32768, 65536, 131072)
DOCUMENT = 2048
"""Tokens per document: what a conversation of some turns holds."""
PROMPT = 256
"""Leading tokens that count as met but are not to be drafted."""
MOST_TOKENS = 400_000


@dataclass(frozen=True, slots=True)
class Reach:
    """Shares of the tokens of one kind of text that a head of ``leading`` rows can draft."""

    text: str
    leading: int
    tokens: int
    by_id: float
    by_id_or_met: float


def documents(ids: Iterable[list[int]]) -> Iterator[list[int]]:
    """Cut texts to documents of DOCUMENT tokens; short remainders are left out."""
    for text in ids:
        for start in range(0, len(text) - DOCUMENT + 1, DOCUMENT):
            yield text[start : start + DOCUMENT]


def reach(name: str, texts: Sequence[list[int]], leading: int) -> Reach:
    """Count over documents; each begins with nothing met."""
    tokens = by_id = met_too = 0
    for document in texts:
        met = set(document[:PROMPT])
        for token in document[PROMPT:]:
            inside = token < leading
            by_id += inside
            met_too += inside or token in met
            met.add(token)
        tokens += len(document) - PROMPT
    return Reach(name, leading, tokens, by_id / tokens, met_too / tokens)


def library_code() -> Iterator[str]:
    """Modules of the standard library, in a fixed shuffled order."""
    folder = Path(sysconfig.get_path("stdlib"))
    modules = sorted(p for p in folder.rglob("*.py") if "site-packages" not in p.parts)
    random.Random(1).shuffle(modules)
    for path in modules:
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def library_prose() -> Iterator[str]:
    """The language reference as `help()` shows it: English prose with some code."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    yield "\n\n".join(topics[name] for name in sorted(topics))


def encoded(tokenizer: Tokenizer, texts: Iterable[str]) -> list[list[int]]:
    """Documents of token ids, about MOST_TOKENS in all."""
    found: list[list[int]] = []
    for document in documents(tokenizer.encode(text) for text in texts):
        found.append(document)
        if len(found) * DOCUMENT >= MOST_TOKENS:
            break
    return found


def main() -> int:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, help="GGUF file whose vocabulary is used")
    parser.add_argument("--text", type=Path, nargs="+", help="own UTF-8 texts instead")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    try:
        with open_gguf(args.file) as file:
            tokenizer = Tokenizer(Vocabulary.from_metadata(file.metadata))
        if args.text:
            kinds = {"own text": (p.read_text(encoding="utf-8") for p in args.text)}
        else:
            kinds = {"code": library_code(), "prose": library_prose()}
    except (HeadlongError, OSError) as error:
        parser.error(str(error))
    rows = []
    print(f"{tokenizer.size} tokens in the vocabulary; documents of {DOCUMENT}, prompt {PROMPT}")
    print("text          K     tokens   id < K   or met")
    for name, texts in kinds.items():
        ids = encoded(tokenizer, texts)
        if not ids:
            parser.error(f"the {name} holds no document of {DOCUMENT} tokens; give longer texts")
        for leading in LEADING:
            if leading < tokenizer.size:
                row = reach(name, ids, leading)
                rows.append(row)
                print(f"{name:9}{leading:7}{row.tokens:11}{row.by_id:9.1%}{row.by_id_or_met:9.1%}")
    if args.json:
        report = {
            "vocabulary": args.file.name,
            "tokens": tokenizer.size,
            "document": DOCUMENT,
            "prompt": PROMPT,
            "reach": [asdict(row) for row in rows],
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
