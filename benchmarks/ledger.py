"""Where the time of a pass goes: bytes, microseconds and GB/s of every kind of operation.

Passes of several numbers of rows alternate with a plain loop that reads memory, because the memory
rate of a shared machine drifts: a rate is compared with the loop's of the same moment. A pass of n
rows is what verifying n - 1 drafts costs: one row counts, the others stay pending and are folded
into the state by the next pass. Bytes are what an operation must move at least: packed weights, the
keys and values of the context, and recurrent states twice, in and out. Every pass is run twice: as
the engine replays it, in one call, and operation by operation, for the lines of the ledger.

    python -m benchmarks.ledger MODEL.gguf --rows 1 4 8 --context 128
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.pages import pages_for
from headlong.engine.load import LoadedModel, load_model
from headlong.ops.batch import Batch, FloatArray, IntArray, Rope, Segment
from headlong.ops.cpu import CpuOps, CpuWeight, instruction_sets
from headlong.ops.protocol import DeltaNetWeights
from headlong.ops.state import KVLayer, RecurrentLayer
from headlong.progress import Silent
from headlong.sampling import MAX_DRAFT
from headlong.tools.machine import describe_machine

READ_BYTES = 96 << 20
"""What the plain loop reads: several times a last-level cache."""

SEQUENCES = 8
"""As many as the engine makes room for unless told otherwise."""

T = TypeVar("T")


@dataclass(slots=True)
class Account:
    """Calls, bytes and seconds of one kind of operation in one pass."""

    calls: int = 0
    bytes: int = 0
    seconds: float = 0.0


class TimedOps(CpuOps):
    """Operations that keep account of themselves, by kind."""

    def __init__(self, threads: int | None = None, isa: str | None = None) -> None:
        super().__init__(threads, isa)
        self.accounts: dict[str, Account] = defaultdict(Account)

    def _timed(self, kind: str, nbytes: int, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = call()
        account = self.accounts[kind]
        account.seconds += time.perf_counter() - began
        account.calls += 1
        account.bytes += nbytes
        return result

    def embed(self, table: CpuWeight, tokens: IntArray) -> FloatArray:
        row = table.nbytes // table.rows
        return self._timed(
            "embed", row * tokens.size, lambda: super(TimedOps, self).embed(table, tokens)
        )

    def norm(self, x: FloatArray, weight: FloatArray, eps: float) -> FloatArray:
        return self._timed("norm", 0, lambda: super(TimedOps, self).norm(x, weight, eps))

    def linear(
        self,
        x: FloatArray,
        *weights: CpuWeight,
        norm: FloatArray | None = None,
        eps: float = 0.0,
    ) -> tuple[FloatArray, ...]:
        return self._timed(
            matrices("linear", weights),
            sum(w.nbytes for w in weights),
            lambda: super(TimedOps, self).linear(x, *weights, norm=norm, eps=eps),
        )

    def linear_add(self, x: FloatArray, weight: CpuWeight, residual: FloatArray) -> FloatArray:
        return self._timed(
            matrices("linear_add", (weight,)),
            weight.nbytes,
            lambda: super(TimedOps, self).linear_add(x, weight, residual),
        )

    def ffn(
        self,
        x: FloatArray,
        norm: FloatArray,
        eps: float,
        gate: CpuWeight,
        up: CpuWeight,
        down: CpuWeight,
    ) -> FloatArray:
        return self._timed(
            matrices("ffn", (gate, up, down)),
            gate.nbytes + up.nbytes + down.nbytes,
            lambda: super(TimedOps, self).ffn(x, norm, eps, gate, up, down),
        )

    def store_kv(
        self,
        k: FloatArray,
        v: FloatArray,
        norm: FloatArray,
        eps: float,
        rope: Rope,
        cache: KVLayer,
        batch: Batch,
    ) -> None:
        self._timed(
            "store_kv",
            0,
            lambda: super(TimedOps, self).store_kv(k, v, norm, eps, rope, cache, batch),
        )

    def attend(
        self, qg: FloatArray, norm: FloatArray, eps: float, rope: Rope, cache: KVLayer, batch: Batch
    ) -> FloatArray:
        pages = pages_for(int((batch.pos_start + batch.rows).max()))
        page = sum(
            a[0].nbytes for a in (cache.k, cache.v, cache.k_scale, cache.v_scale) if a is not None
        )
        return self._timed(
            "attend",
            pages * page,
            lambda: super(TimedOps, self).attend(qg, norm, eps, rope, cache, batch),
        )

    def delta_net(
        self,
        qkv: FloatArray,
        z: FloatArray,
        beta: FloatArray,
        alpha: FloatArray,
        weights: DeltaNetWeights,
        eps: float,
        state: RecurrentLayer,
        batch: Batch,
    ) -> FloatArray:
        return self._timed(
            "delta_net",
            2 * batch.slots.size * state.s[0].nbytes,
            lambda: super(TimedOps, self).delta_net(
                qkv, z, beta, alpha, weights, eps, state, batch
            ),
        )


def matrices(op: str, weights: Sequence[CpuWeight]) -> str:
    """``ffn 6144+6144+2048 Q4_K+Q6_K``: outputs and packed forms."""
    types = list(dict.fromkeys(w.type for w in weights))
    return f"{op} {'+'.join(str(w.rows) for w in weights)} {'+'.join(types)}"


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: its time replayed, the loop's rate beside it, and the accounts by kind."""

    seconds: float
    read_gb_per_s: float
    accounts: dict[str, Account]


@dataclass(slots=True)
class Ledger:
    """Passes of one number of rows."""

    rows: int
    passes: list[Pass] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        return 1e3 * median(p.seconds for p in self.passes)

    def kinds(self) -> list[str]:
        return list(self.passes[0].accounts)

    def microseconds(self, kind: str) -> float:
        return 1e6 * median(p.accounts[kind].seconds for p in self.passes)

    def of_read(self, kind: str | None) -> float:
        """Rate over the plain loop's; of the whole pass without a kind."""
        return median(
            (
                (p.accounts[kind].bytes / p.accounts[kind].seconds)
                if kind
                else sum(a.bytes for a in p.accounts.values()) / p.seconds
            )
            / 1e9
            / p.read_gb_per_s
            for p in self.passes
        )


class Case:
    """One sequence of a loaded model; passes may stand at any position."""

    def __init__(
        self, model: LoadedModel[CpuWeight], ops: TimedOps, positions: int, sequences: int
    ) -> None:
        config = model.config
        self._ops, self._trunk = ops, model.trunk
        self._cache = Cache(
            config, context=positions, sequences=sequences, kv_type="f16", max_draft=MAX_DRAFT,
            mtp=False,
        )  # fmt: skip
        for layer in self._cache.kv:
            layer.k[...] = layer.v[...] = np.float16(0.01).view(np.uint16)
        self._forward = ops.program(
            lambda batch: model.trunk.forward(batch, self._cache.kv, self._cache.recurrent)
        )
        self._lease = self._cache.lease()
        self._pages = self._lease.reserve(positions)
        self._pending = 0
        self._vocab = config.vocab

    def verify(self, rows: int, context: int) -> Pass:
        """A pass of so many rows after ``context`` positions, and its logits."""
        self._forward(self._batch(rows, 1, context))  # leaves the pending rows to be folded next
        read = self._ops.read_bandwidth(READ_BYTES, 2)
        batch = self._batch(rows, 1, context)
        began = time.perf_counter()
        self._trunk.logits(self._forward(batch))
        seconds = time.perf_counter() - began
        return Pass(seconds, read, self._by_operation(self._batch(rows, 1, context)))

    def prefill(self, rows: int, context: int) -> Pass:
        """A chunk of a prompt after ``context`` positions: no logits."""
        self._pending = 0
        read = self._ops.read_bandwidth(READ_BYTES, 2)
        batch = self._batch(rows, rows, context)
        began = time.perf_counter()
        accounts = self._by_operation(batch, logits=False)
        return Pass(time.perf_counter() - began, read, accounts)

    def _by_operation(self, batch: Batch, *, logits: bool = True) -> dict[str, Account]:
        self._ops.accounts = defaultdict(Account)
        hidden = self._trunk.forward(batch, self._cache.kv, self._cache.recurrent)
        if logits:
            self._trunk.logits(hidden)
        accounts, self._ops.accounts = self._ops.accounts, defaultdict(Account)
        return dict(accounts)

    def _batch(self, rows: int, final: int, context: int) -> Batch:
        fold, self._pending = self._pending, rows - final
        tokens = (np.arange(rows, dtype=np.int32) * 7919 + 1) % self._vocab
        pages = self._pages[: pages_for(context + rows)]
        return Batch.of([Segment(self._lease.slot, context, tokens, pages, final, fold)])


def measure(case: Case, rows: Sequence[int], passes: int, context: int) -> list[Ledger]:
    """Numbers of rows take turns, so that a slow moment strikes all of them."""
    ledgers = [Ledger(n) for n in rows]
    for turn in range(passes + 1):
        for ledger in ledgers:
            done = case.verify(ledger.rows, context)
            if turn:  # the first warms up
                ledger.passes.append(done)
    return ledgers


def show(ledger: Ledger, one: Ledger) -> None:
    read = median(p.read_gb_per_s for p in ledger.passes)
    print(
        f"\n{ledger.rows} rows: {ledger.milliseconds:.2f} ms, c = "
        f"{ledger.milliseconds / one.milliseconds:.2f}; plain reading {read:.1f} GB/s, pass "
        f"{ledger.of_read(None):.0%} of it"
    )
    print(f"{'operation':<44}{'calls':>6}{'MB':>9}{'us':>10}{'GB/s':>8}{'of read':>9}{'share':>8}")
    total = 1e3 * ledger.milliseconds
    for kind in sorted(ledger.kinds(), key=ledger.microseconds, reverse=True):
        account, us = ledger.passes[0].accounts[kind], ledger.microseconds(kind)
        print(
            f"{kind:<44}{account.calls:>6}{account.bytes / 1e6:>9.2f}{us:>10.1f}"
            f"{account.bytes / us / 1e3:>8.1f}{ledger.of_read(kind):>9.0%}{us / total:>8.1%}"
        )
    operations = sum(ledger.microseconds(kind) for kind in ledger.kinds())
    print(f"{'(all operations)':<59}{operations:>10.1f}{operations / total:>25.1%}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--context", type=int, default=128, help="positions before the pass")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--isa", choices=instruction_sets())
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    args = parser.parse_args(argv)
    ops = TimedOps(args.threads, args.isa)
    model = load_model(args.model, ops, Silent(), mtp=False)
    case = Case(model, ops, args.context + max(args.rows), SEQUENCES)
    ledgers = measure(case, args.rows, args.passes, args.context)
    print(f"{args.model.name}, {ops.isa}, {ops.threads} threads, context {args.context}")
    for ledger in ledgers:
        show(ledger, ledgers[0])
    if args.json is not None:
        record = {
            "model": args.model.name,
            "machine": asdict(describe_machine(ops)),
            "isa": ops.isa,
            "threads": ops.threads,
            "context": args.context,
            "ledgers": [asdict(ledger) for ledger in ledgers],
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
