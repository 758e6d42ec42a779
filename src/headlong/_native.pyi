"""Types of the compiled module; what each function does stands in `native/bind_*.cpp`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]
_Bytes = npt.NDArray[np.uint8]
_Cache = npt.NDArray[np.uint16] | npt.NDArray[np.int8]
_Scales = npt.NDArray[np.uint16] | None

def isas() -> list[str]: ...

class Backend:
    def __init__(self, threads: int, isa: str) -> None: ...
    def record(self, program: Program | None) -> None: ...
    @property
    def threads(self) -> int: ...
    @property
    def isa(self) -> str: ...

class Program:
    def __init__(self) -> None: ...
    def own(self, block: memoryview) -> None: ...
    def input(self, array: _Floats | _Ints, ragged: bool = False) -> None: ...
    def run(self, backend: Backend, arguments: tuple[object, ...]) -> None: ...
    @property
    def operations(self) -> int: ...

class Packed:
    def __init__(self, type: int, rows: int, cols: int) -> None: ...
    def fill(self, backend: Backend, raw_rows: _Bytes, first_row: int) -> None: ...
    def head(self, rows: int) -> Packed: ...
    @property
    def type(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def filled(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def packable(type: int) -> str: ...
def pack(backend: Backend, raw: _Bytes, type: int, rows: int, cols: int) -> Packed: ...
def unpack_rows(backend: Backend, weight: Packed, ids: _Ints, out: _Floats) -> None: ...
def rms_norm(backend: Backend, x: _Floats, weight: _Floats, eps: float, out: _Floats) -> None: ...
def norm_join(
    backend: Backend,
    a: _Floats,
    a_weight: _Floats,
    b: _Floats,
    b_weight: _Floats,
    eps: float,
    out: _Floats,
) -> None: ...
def angles(
    backend: Backend,
    frequencies: npt.NDArray[np.float64],
    row_start: _Ints,
    rows: _Ints,
    pos_start: _Ints,
    cos: _Floats,
    sin: _Floats,
) -> None: ...
def last_rows(
    backend: Backend,
    x: _Floats,
    tokens: _Ints,
    figures: _Ints,
    out: _Floats,
    out_tokens: _Ints,
    out_figures: _Ints,
) -> None: ...
def linear(
    backend: Backend,
    x: _Floats,
    norm: _Floats | None,
    eps: float,
    weights: Sequence[Packed],
    outs: Sequence[_Floats],
) -> None: ...
def linear_add(
    backend: Backend, x: _Floats, weight: Packed, residual: _Floats, out: _Floats
) -> None: ...
def ffn(
    backend: Backend,
    x: _Floats,
    norm: _Floats,
    eps: float,
    gate: Packed,
    up: Packed,
    down: Packed,
    out: _Floats,
) -> None: ...
def argmax_rows(backend: Backend, x: _Floats, out_index: _Ints, out_value: _Floats) -> None: ...
def best(
    backend: Backend,
    x: _Floats,
    weight: Packed,
    allowed: _Bytes | None,
    values: _Floats,
    ids: _Ints,
    log_sums: npt.NDArray[np.float64] | None,
) -> None: ...

class WindowCounts:
    def __init__(self) -> None: ...
    def add(self, token: int) -> None: ...
    def drop(self, token: int) -> None: ...
    def entries(self) -> tuple[list[int], list[int]]: ...

NAN_LOGITS: int
INFINITE_LOGITS: int
NO_TOKEN: int

class Sampler:
    def __init__(
        self,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        typical_p: float,
        repeat: float,
        frequency: float,
        presence: float,
        seed: int,
        bans: Sequence[int],
        early_bans: Sequence[int],
        early_until: int,
        shift_ids: Sequence[int],
        shifts: Sequence[float],
        isa: str = "",
    ) -> None: ...
    def row(
        self, logits: _Floats, ids: _Ints | None, counts: WindowCounts | None, position: int
    ) -> int: ...
    def best(self, logits: _Floats, ids: _Ints, position: int) -> int: ...

def uniform(seed: int, position: int, id: int) -> float: ...
def gumbel(seed: int, position: int, id: int) -> float: ...
def log_sum(logits: _Floats) -> float: ...
def read_bandwidth(backend: Backend, bytes: int, repeats: int = 5) -> float: ...
def kv_store(
    backend: Backend,
    k: _Floats,
    v: _Floats,
    k_norm: _Floats,
    eps: float,
    cos: _Floats,
    sin: _Floats,
    k_cache: _Cache,
    v_cache: _Cache,
    k_scale: _Scales,
    v_scale: _Scales,
    page_table: _Ints,
    row_start: _Ints,
    rows: _Ints,
    pos_start: _Ints,
) -> None: ...
def attend(
    backend: Backend,
    qg: _Floats,
    q_norm: _Floats,
    eps: float,
    cos: _Floats,
    sin: _Floats,
    k_cache: _Cache,
    v_cache: _Cache,
    k_scale: _Scales,
    v_scale: _Scales,
    page_table: _Ints,
    row_start: _Ints,
    rows: _Ints,
    pos_start: _Ints,
    out: _Floats,
) -> None: ...
def delta_net(
    backend: Backend,
    qkv: _Floats,
    z: _Floats,
    beta: _Floats,
    alpha: _Floats,
    conv_w: _Floats,
    ssm_a: _Floats,
    dt_bias: _Floats,
    norm_w: _Floats,
    eps: float,
    state: _Floats,
    conv: _Floats,
    pending_k: _Floats,
    pending_delta: _Floats,
    pending_decay: _Floats,
    pending_u: _Floats,
    slot: _Ints,
    row_start: _Ints,
    rows: _Ints,
    fold: _Ints,
    final: _Ints,
    out: _Floats,
) -> None: ...
