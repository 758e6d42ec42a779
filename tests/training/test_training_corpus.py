"""The corpus: what is read, what is held out, what conversations look like."""

import inspect
import random
import typing
from pathlib import Path

import jinja2
import pytest
from training.conversations import Exchange, build_conversations, exchanges_of, layout
from training.corpus import Document, read_documents
from training.tokenizer import CONTROL, USER_DEFINED, VOCAB_SIZE, train_tokenizer

import training

pytestmark = pytest.mark.training

FUNCTION = '''"""Tools for counting things that can be counted, and for nothing else."""


def count(items, wanted):
    """Return how often `wanted` is among `items`.

    Comparison is by equality.
    """
    total = 0
    for item in items:
        if item == wanted:
            total += 1
    return total
'''


def write_library(folder: Path) -> None:
    files = {
        "counting.py": FUNCTION,
        "test/test_counting.py": "import counting\n\nassert counting.count([1, 2], 1) == 1\n" * 2,
        "site-packages/other.py": FUNCTION,
        "encodings/cp000.py": "import codecs\n\ndecoding_table = (\n    'abc'  # letters\n)\n" * 2,
        "numbers_only.py": "table = [" + ", ".join(str(n * n % 977) for n in range(99)) + "]\n",
        "repeated.py": "x = 1\n" * 500,
        "pydoc_data/topics.py": "topics = {'assert': 'The assert statement\\n'}\n",
    }  # fmt: skip
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n" + b"x = '\xe9'\n" * 20)


def test_files_are_sorted_into_kinds(tmp_path: Path) -> None:
    write_library(tmp_path)
    assert {d.path: d.kind for d in read_documents(tmp_path)} == {
        "counting.py": "library",
        "test/test_counting.py": "tests",
        "encodings/cp000.py": "tables",
        "numbers_only.py": "tables",
        "pydoc_data/topics.py#assert": "reference",
    }


def test_about_two_per_cent_are_held_out_and_the_choice_is_fixed() -> None:
    documents = [Document(f"package/module{i}.py", "library", "") for i in range(5000)]
    again = [Document(document.path, "tests", "other text") for document in documents]
    share = sum(d.held_out for d in documents) / len(documents)
    assert 0.015 < share < 0.025
    assert [d.held_out for d in documents] == [d.held_out for d in again]


def test_exchanges_are_cut_from_the_source() -> None:
    document = Document("counting.py", "library", FUNCTION)
    exchanges = list(exchanges_of(document, random.Random(0)))
    answers = [e.answer for e in exchanges]
    body = FUNCTION.split("\n\n\n")[1].rstrip("\n")
    assert f"```python\n{body}\n```" in answers  # write it
    assert answers[0].startswith("Tools for counting")  # the module's purpose
    assert any(a.startswith("Return how often") and "equality" in a for a in answers)  # explain it
    completion = exchanges[-1]
    start = completion.question.split("```python\n")[1].removesuffix("\n```")
    rest = completion.answer.removeprefix("```python\n").removesuffix("\n```")
    assert f"{start}\n{rest}" == body


def test_conversations_leave_tests_and_tables_out() -> None:
    documents = [Document("a.py", kind, FUNCTION) for kind in ("tests", "tables")]
    assert build_conversations(documents, seed=0) == []
    assert build_conversations([Document("a.py", "library", FUNCTION)], seed=0) != []


def render(messages: list[dict[str, str]], **values: object) -> str:
    def refuse(message: str) -> None:
        raise ValueError(message)

    source = Path(training.__file__).with_name("chat_template.jinja").read_text()
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(messages=messages, raise_exception=refuse, **values)


@pytest.mark.parametrize("thinking", [False, True])
def test_template_and_training_text_agree(thinking: bool) -> None:
    exchanges = [Exchange("One?", "1", "Counting."), Exchange("Two?", "2\n\n  indented", "More.")]
    text = layout(exchanges, "Be brief.", thinking)
    prompt = render(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "<think>\nCounting.\n</think>\n\n1"},
            {"role": "user", "content": "Two?"},
        ],
        add_generation_prompt=True,
        enable_thinking=thinking,
    )
    assert text.startswith(prompt)
    rest = text.removeprefix(prompt)
    assert rest == ("More.\n</think>\n\n" if thinking else "") + "2\n\n  indented<|im_end|>\n"


def test_template_does_not_think_unless_asked() -> None:
    messages = [{"role": "user", "content": "Hello"}]
    assert render(messages).endswith("Hello<|im_end|>\n")
    prompt = render(messages, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([{"role": "tool", "content": "x"}], "not tool"),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "y"}], "come first"),
        ([{"role": "user", "content": [{"type": "image"}]}], "text only"),
    ],
)
def test_template_refuses_what_it_cannot_lay_out(messages: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        render(messages)


def test_tokenizer_gives_back_every_text_and_keeps_specials_whole() -> None:
    texts = [Path(file).read_text() for file in Path(training.__file__).parent.glob("*.py")]
    tokenizer = train_tokenizer([*texts, inspect.getsource(inspect), inspect.getsource(typing)])
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    text = "\tdef f(x):\r\n\n    return 'naïve → 日本語 😀' + 1234.5  \n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    pieces = tokenizer.encode("2024 don't  x\n\n  y").tokens
    assert [p for p in pieces if any(c.isdigit() for c in p)] == ["2", "0", "2", "4"]
    for mark in (*CONTROL, *USER_DEFINED):
        assert len(tokenizer.encode(f"{mark}").ids) == 1
    ids = [tokenizer.token_to_id(mark) for mark in (*CONTROL, *USER_DEFINED)]
    assert ids == list(range(VOCAB_SIZE - 7, VOCAB_SIZE))
