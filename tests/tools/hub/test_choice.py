"""References to models of the hub, and which files they mean."""

from __future__ import annotations

import pytest

from headlong.errors import DownloadError, ParameterError
from headlong.tools.hub.choice import choose, models_among
from headlong.tools.hub.reference import Reference

PARTS = [f"BF16/m-BF16-{n:05}-of-00003.gguf" for n in (1, 2, 3)]
MANY = [
    "README.md",
    "m-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "m-UD-Q4_K_XL.gguf",
    "m-IQ4_XS.gguf",
    "m-Q8_0.gguf",
    "m.q6_k.gguf",
    "m_Q5_0.gguf",
    "mmproj-F16.gguf",
    "m-mmproj-BF16.gguf",
    "mtp-m-Q8_0.gguf",
    "imatrix.gguf",
    *PARTS,
]


def chosen(text: str, files: list[str]) -> tuple[str, ...]:
    return choose(Reference.parse(text), files).files


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("hf:a/b", Reference("a/b")),
        ("hf:a/b:Q4_K_M", Reference("a/b", quant="Q4_K_M")),
        ("hf:a/b.c-d/x.gguf", Reference("a/b.c-d", file="x.gguf")),
        ("hf:a/b/sub/x y.gguf", Reference("a/b", file="sub/x y.gguf")),
    ],
)
def test_references(text: str, parsed: Reference) -> None:
    assert Reference.parse(text) == parsed
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    (
        *("hf:", "hf:a", "hf:a/", "hf:/b", "hf:a/b:", "hf:a/b:Q 4", "hf:a/b/c", "hf:../b"),
        *("hf:a/b/../c.gguf", "hf:a/b/.gguf/../x.gguf", "hf:a/b//x.gguf", "hf:a/b/x\n.gguf"),
        *("hf:a/b/c\\d.gguf", "hf:a--b/c", "hf:ä/b", "hf:a b/c"),
    ),
)
def test_references_that_mean_nothing(text: str) -> None:
    with pytest.raises(ParameterError, match="hf:user/repo"):
        Reference.parse(text)


def test_models_are_whole_and_run_alone() -> None:
    stems = [model.stem for model in models_among(MANY)]
    assert stems == sorted(
        [
            "BF16/m-BF16",
            "m-IQ4_XS",
            "m-Q4_K_M",
            "m-Q4_K_S",
            "m-Q8_0",
            "m-UD-Q4_K_XL",
            "m.q6_k",
            "m_Q5_0",
        ]
    )
    assert models_among(PARTS[:2]) == ()


@pytest.mark.parametrize(
    ("quant", "file"),
    [
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("q4_k_m", "m-Q4_K_M.gguf"),
        ("Q6_K", "m.q6_k.gguf"),
        ("IQ4_XS", "m-IQ4_XS.gguf"),
        ("Q5_0", "m_Q5_0.gguf"),
        ("UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("BF16", PARTS[0]),
    ],
)
def test_a_quantisation_is_a_whole_word_of_the_name(quant: str, file: str) -> None:
    assert chosen(f"hf:a/b:{quant}", MANY)[0] == file


def test_all_parts_of_a_split_model_are_taken_in_order() -> None:
    assert chosen("hf:a/b:bf16", MANY[::-1]) == tuple(PARTS)
    assert chosen(f"hf:a/b/{PARTS[1]}", MANY) == tuple(PARTS)


@pytest.mark.parametrize("quant", ["Q4_K", "Q4", "XS", "4_XS", "Q...", "Q5_K_M"])
def test_a_quantisation_that_is_not_there_lists_what_is(quant: str) -> None:
    with pytest.raises(DownloadError, match="no file is of quantisation") as caught:
        chosen(f"hf:a/b:{quant}", MANY)
    assert "hf:a/b/m-Q4_K_S.gguf" in str(caught.value)


def test_without_a_quantisation() -> None:
    assert chosen("hf:a/b", MANY) == ("m-Q4_K_M.gguf",)
    assert chosen("hf:a/b", [f for f in MANY if "Q4_K_M" not in f]) == ("m-Q8_0.gguf",)
    assert chosen("hf:a/b", ["m-Q2_K.gguf", "mmproj.gguf"]) == ("m-Q2_K.gguf",)
    with pytest.raises(DownloadError, match="more than one file could be meant") as caught:
        chosen("hf:a/b", ["m-Q2_K.gguf", "m-Q3_K.gguf"])
    assert "hf:a/b/m-Q2_K.gguf, hf:a/b/m-Q3_K.gguf" in str(caught.value)


def test_a_name_with_a_head_wins() -> None:
    files = ["m-Q4_K_M.gguf", "m-MTP-Q4_K_M.gguf", "m-Q8_0.gguf"]
    assert chosen("hf:a/b", files) == ("m-MTP-Q4_K_M.gguf",)
    assert chosen("hf:a/b:Q4_K_M", files) == ("m-MTP-Q4_K_M.gguf",)
    assert chosen("hf:a/b:Q8_0", files) == ("m-Q8_0.gguf",)
    with pytest.raises(DownloadError, match="more than one"):
        chosen("hf:a/b:Q4_K_M", ["x-Q4_K_M.gguf", "y-Q4_K_M.gguf"])


def test_files_by_name() -> None:
    assert chosen("hf:a/b/m-Q8_0.gguf", MANY) == ("m-Q8_0.gguf",)
    assert chosen("hf:a/b/mtp-m-Q8_0.gguf", MANY) == ("mtp-m-Q8_0.gguf",)
    with pytest.raises(DownloadError, match="no such file"):
        chosen("hf:a/b/m-Q9.gguf", MANY)
    with pytest.raises(DownloadError, match="other parts of it are missing"):
        chosen(f"hf:a/b/{PARTS[0]}", PARTS[:2])


def test_a_repository_without_models_shows_its_files() -> None:
    with pytest.raises(DownloadError, match="no GGUF model") as caught:
        chosen("hf:a/b", [f"f{n}.safetensors" for n in range(30)])
    assert "f0.safetensors" in str(caught.value) and "and 10 more" in str(caught.value)
    with pytest.raises(DownloadError, match="no GGUF model"):
        chosen("hf:a/b", [])
