"""Cut text at random places, to show that the cuts make no difference."""

import itertools
from collections.abc import Sequence

from hypothesis import strategies as st


def chunks_of(pieces: Sequence[str], max_pieces: int = 12) -> st.SearchStrategy[list[str]]:
    """Texts made of the given pieces, cut into chunks of random length."""

    @st.composite
    def build(draw: st.DrawFn) -> list[str]:
        text = "".join(draw(st.lists(st.sampled_from(pieces), max_size=max_pieces)))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
        edges = [0, *cuts, len(text)]
        return [text[a:b] for a, b in itertools.pairwise(edges)]

    return build()
