"""First step: read the corpus, train the tokenizer, write token arrays.

    python -m training.prepare [--out training/runs/data]

Writes tokenizer.json and, for training ("train") and validation ("held"), one .npz per stream
("library", "reference", "tests", "chat") with `tokens` (uint16) and `starts` (int64).
"""

import argparse
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from training.conversations import build_conversations
from training.corpus import Document, read_documents
from training.tokenizer import END_OF_TEXT, train_tokenizer

DEFAULT_DATA = Path("training/runs/data")
STREAMS = ("library", "reference", "tests", "chat")


def write_stream(path: Path, tokenizer: Tokenizer, texts: list[str]) -> int:
    """Encode `texts`, each behind <|endoftext|>; returns the number of tokens written."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    pieces, starts, position = [], [], 0
    for encoding in tokenizer.encode_batch(texts):
        ids = np.array([end, *encoding.ids], dtype=np.uint16)
        starts.append(position)
        pieces.append(ids)
        position += len(ids)
    np.savez(path, tokens=np.concatenate(pieces), starts=np.array(starts, dtype=np.int64))
    return position


def prepare(out: Path, library: Path | None = None) -> None:
    """Write everything that `train` reads into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    documents = read_documents(library)
    split: dict[str, list[Document]] = {"train": [], "held": []}
    for document in documents:
        split["held" if document.held_out else "train"].append(document)
    chats = {
        "train": build_conversations(split["train"], seed=1, greetings=20),
        "held": build_conversations(split["held"], seed=2),
    }
    # The tokenizer also reads the tables, the model does not.
    tokenizer = train_tokenizer(d.text for d in split["train"] if d.kind != "tests")
    tokenizer.save(str(out / "tokenizer.json"))
    for part, chosen in split.items():
        for stream in STREAMS:
            texts = [document.text for document in chosen if document.kind == stream]
            if stream == "chat":
                texts = chats[part]
            n_tokens = write_stream(out / f"{part}-{stream}.npz", tokenizer, texts)
            n_bytes = sum(len(t.encode()) for t in texts)
            print(f"{part:>5} {stream:<9} {len(texts):>6} texts {n_bytes:>10} bytes "
                  f"{n_tokens:>9} tokens {n_bytes / n_tokens:.2f} bytes/token")  # fmt: skip


def main() -> None:
    """Parse the command line and prepare the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_DATA)
    prepare(parser.parse_args().out)


if __name__ == "__main__":
    main()
