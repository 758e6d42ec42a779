import numpy as np
import pytest

from headlong.errors import HeadlongError
from headlong.sampling import TokenSubset


def test_it_keeps_its_own_ids() -> None:
    ids = np.array([1, 2, 3])
    subset = TokenSubset(ids)
    ids[0] = 99
    assert subset.ids.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        subset.ids[0] = 7


@pytest.mark.parametrize("ids", [[], [1, 1], [2, 1], [-1, 0], [[1, 2]]])
def test_ids_must_ascend(ids: list[int]) -> None:
    with pytest.raises(HeadlongError, match="strictly ascending"):
        TokenSubset(ids)
