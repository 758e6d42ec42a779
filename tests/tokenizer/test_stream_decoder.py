from hypothesis import given
from hypothesis import strategies as st

from headlong.tokenizer import StreamDecoder, Tokenizer


def decoder_of(*tokens: bytes) -> StreamDecoder:
    return StreamDecoder(tokens.__getitem__)


def test_a_character_over_several_tokens_comes_out_whole() -> None:
    decoder = decoder_of(*(bytes((b,)) for b in "🦙".encode()))
    assert [decoder.feed(i) for i in range(4)] == ["", "", "", "🦙"]
    assert decoder.flush() == ""


def test_invalid_bytes_are_replaced_as_soon_as_they_are_certain() -> None:
    decoder = decoder_of(b"\xc3", b"a", b"\xff")
    assert decoder.feed(0) == ""  # may still become a character
    assert decoder.feed(1) == "\ufffda"
    assert decoder.feed(2) == "\ufffd"


def test_flushing_ends_an_unfinished_character() -> None:
    decoder = decoder_of(b"ok\xf0\x9f", b"b")
    assert decoder.feed(0) == "ok"
    assert decoder.flush() == "\ufffd"
    assert decoder.feed(1) == "b"
    assert decoder.flush() == ""


def test_text_before_a_split_character_is_not_held_back() -> None:
    decoder = decoder_of("né".encode()[:2])
    assert decoder.feed(0) == "n"


@given(chunks=st.lists(st.binary(max_size=5)))
def test_the_pieces_make_the_whole_for_any_bytes(chunks: list[bytes]) -> None:
    decoder = decoder_of(*chunks)
    text = "".join(decoder.feed(i) for i in range(len(chunks))) + decoder.flush()
    assert text == b"".join(chunks).decode(errors="replace")


@given(data=st.data())
def test_the_pieces_make_what_decode_makes(tiny: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tiny.size - 1)))
    special = data.draw(st.booleans())
    decoder = tiny.stream(special=special)
    pieces = [decoder.feed(token) for token in ids]
    assert "".join([*pieces, decoder.flush()]) == tiny.decode(ids, special=special)


@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_no_piece_of_sound_text_holds_a_replacement(tiny: Tokenizer, text: str) -> None:
    decoder = tiny.stream()
    pieces = [decoder.feed(token) for token in tiny.encode(text, special=False)]
    assert decoder.flush() == ""
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece or "\ufffd" in text for piece in pieces)
