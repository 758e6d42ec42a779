"""The ledger of a pass, the table of kernels and its picture, on the smallest of inputs."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from benchmarks.kernel_chart import draw
from benchmarks.kernels import TYPES, Table, load_table, measure, save_table
from benchmarks.ledger import Case, TimedOps
from benchmarks.ledger import measure as measure_passes
from benchmarks.long_contexts import measure as measure_contexts

from headlong import _native
from headlong.engine.load import load_model
from headlong.gguf import open_gguf
from headlong.gguf.types import GGMLType
from headlong.models.config import read_config
from headlong.ops.cpu import CpuOps
from headlong.progress import Silent
from headlong.tools.machine import describe_machine

BUNDLED = Path(__file__).parents[2] / "src/headlong/bundled/headlong-tiny-Q8_0.gguf"


@pytest.fixture(scope="module")
def ops() -> TimedOps:
    return TimedOps(1)


@pytest.fixture(scope="module")
def case(ops: TimedOps) -> Case:
    model = load_model(BUNDLED, ops, Silent(), mtp=False)
    return Case(model, ops, positions=200, sequences=1)


def test_a_ledger_counts_every_operation_and_the_bytes_of_every_matrix(case: Case) -> None:
    one, three = measure_passes(case, (1, 3), passes=1, context=64)
    assert (one.rows, three.rows) == (1, 3)
    assert one.kinds() == three.kinds()
    layers = len([k for k in one.kinds() if k.startswith("ffn")])
    assert layers >= 1
    accounts = one.passes[0].accounts
    weights = {k: a.bytes for k, a in accounts.items() if k.startswith(("linear", "ffn"))}
    assert weights == {k: three.passes[0].accounts[k].bytes for k in weights}  # read once for all
    total = sum(weights.values())
    with open_gguf(BUNDLED) as file:
        last = f"blk.{read_config(file.metadata, 4096).mtp_block}."
        stored = sum(t.nbytes for n, t in file.tensors.items() if not n.startswith(last))
    assert total == pytest.approx(stored, rel=0.05)  # small tensors are not counted, padding is
    assert all(a.seconds > 0 and a.calls > 0 for a in accounts.values())
    assert 0 < one.of_read(None) < 50
    assert one.milliseconds > 0


def test_contexts_are_measured_where_they_are_asked_for(case: Case) -> None:
    lines = measure_contexts(case, contexts=(64, 128), rows=(1,), chunk=32, passes=2)
    assert [(x.kind, x.rows, x.context) for x in lines] == [
        ("decode", 1, 64), ("prompt", 32, 64), ("decode", 1, 128), ("prompt", 32, 128),
    ]  # fmt: skip
    near, far = lines[0].passes[0].accounts["attend"], lines[2].passes[0].accounts["attend"]
    assert far.bytes > near.bytes  # more positions, more pages to read
    for line in lines:
        assert 0 < line.part("attend") < line.seconds
        assert 0 < line.part("delta_net") < line.seconds


def test_a_table_is_renewed_in_part_and_survives_its_file(tmp_path: Path) -> None:
    backend = _native.Backend(1, "portable")
    old, new, other = (
        measure(backend, GGMLType[name], 0.2, [1, 2], 2) for name in ("Q8_0", "Q8_0", "Q4_K")
    )
    table = Table(describe_machine(CpuOps(1)), [old]).with_new([other, new])
    assert [m.type for m in table.measurements] == ["Q8_0", "Q4_K"]  # as TYPES has them
    assert TYPES.index("Q8_0") < TYPES.index("Q4_K")
    assert table.measurements[0] is new
    path = tmp_path / "table.json"
    save_table(path, table)
    assert load_table(path) == table
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"table\.json is no table"):
        load_table(path)


def test_the_picture_has_a_cell_for_every_rate() -> None:
    backend = _native.Backend(1, "portable")
    measured = measure(backend, GGMLType.Q4_K, 0.2, [1, 2], 2)
    svg = draw(Table(describe_machine(CpuOps(1)), [measured]))
    root = ElementTree.fromstring(svg)
    texts = [t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Q4_K", "portable", "1", "2"} <= set(texts)
    rates = [f"{r:.0f}" if (r := measured.rate(n)) >= 10 else f"{r:.1f}" for n in (1, 2)]
    assert all(rate in texts for rate in rates)
