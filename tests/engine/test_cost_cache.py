from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headlong.engine.cost_cache import LESSONS, CostCache, CostKey, cache_folder
from headlong.speculation.costs import ContextCost, CostRecord, PassRecord

KEY = CostKey("a processor", 2, "avx2", 2, "f00d", "f16", "1.0")
RECORD = CostRecord(
    passes=(PassRecord(1, 0.03, 20.0), PassRecord(4, 0.035, 17.5)),
    first_draft=0.004,
    draft_step=0.002,
    sampling=0.0001,
    overhead=0.0002,
    context=ContextCost(1e-7, 1e-8, 2e-8),
    lessons=100,
)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    cache = CostCache(folder, KEY)
    assert cache.load() is None
    assert cache.save(RECORD)
    assert CostCache(folder, KEY).load() == RECORD
    assert [path.name for path in folder.iterdir()] == [KEY.name]


def test_every_part_of_the_key_counts(tmp_path: Path) -> None:
    CostCache(tmp_path, KEY).save(RECORD)
    others = [
        replace(KEY, processor="b"), replace(KEY, cores=4), replace(KEY, isa="portable"),
        replace(KEY, threads=1), replace(KEY, model="beef"), replace(KEY, kv_type="q8_0"),
        replace(KEY, headlong="1.1"),
    ]  # fmt: skip
    for other in others:
        cache = CostCache(tmp_path, other)
        assert cache.load() is None
        # Nor is a file believed that merely has the name.
        cache.path.write_bytes(CostCache(tmp_path, KEY).path.read_bytes())
        assert cache.load() is None


def damaged(change: object) -> bytes:
    fields = {"schema": 1, "key": None, "costs": None}
    return json.dumps(fields | {"costs": change}).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b"{}" + b" " * 70_000, damaged({})],
)
def test_damaged_files_are_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    cache = CostCache(tmp_path, KEY)
    cache.path.write_bytes(content)
    assert cache.load() is None
    assert cache.save(RECORD)
    assert cache.load() == RECORD


@settings(suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(
        [
            ("schema",), ("key", "cores"), ("costs", "passes"), ("costs", "passes", 0, "seconds"),
            ("costs", "passes", 0, "rows"), ("costs", "passes", 1, "rows"),
            ("costs", "passes", 0, "context"),
            ("costs", "first_draft"), ("costs", "draft_step"), ("costs", "sampling"),
            ("costs", "overhead"), ("costs", "context"), ("costs", "context", "row"),
            ("costs", "lessons"),
        ]
    ),
    value=st.one_of(
        st.none(), st.text(max_size=3), st.just(-1), st.just(-0.5), st.just(float("nan")),
        st.just(float("inf")), st.just(1e300), st.just([]), st.just({}), st.just(True),
    ),
)  # fmt: skip
def test_values_that_no_table_has_are_not_believed(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    cache = CostCache(tmp_path, KEY)
    cache.save(RECORD)
    fields = json.loads(cache.path.read_text())
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    cache.path.write_text(json.dumps(fields))
    assert cache.load() is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert not CostCache(blocked, KEY).save(RECORD)
    assert CostCache(blocked, KEY).load() is None
    if os.name == "posix" and os.geteuid() != 0:
        folder = tmp_path / "closed"
        folder.mkdir()
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert not CostCache(folder, KEY).save(RECORD)


def test_only_better_knowledge_replaces_what_is_there(tmp_path: Path) -> None:
    cache = CostCache(tmp_path, KEY)
    assert not cache.improve(replace(RECORD, lessons=LESSONS - 1))
    assert cache.load() is None
    cache.save(replace(RECORD, lessons=0))
    assert cache.improve(replace(RECORD, lessons=LESSONS))
    assert cache.improve(replace(RECORD, lessons=500))
    assert not cache.improve(replace(RECORD, lessons=200))
    found = cache.load()
    assert found is not None
    assert found.lessons == 500


def test_where_files_go() -> None:
    assert cache_folder({"HEADLONG_CACHE": "/somewhere"}) == Path("/somewhere")
    for off in ("off", "OFF", " ", "0", "none"):
        assert cache_folder({"HEADLONG_CACHE": off, "XDG_CACHE_HOME": "/x"}) is None


@pytest.mark.skipif(os.name != "posix", reason="Windows has LOCALAPPDATA")
def test_where_files_go_by_default() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/headlong")
    found = cache_folder({})
    assert found is not None
    assert found.is_relative_to(Path.home())
