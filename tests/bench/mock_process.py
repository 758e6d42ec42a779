"""The mock server as a process of its own: python mock_process.py [DRAFTS]; it prints its port."""

from __future__ import annotations

import sys
import time

from mock_server import Mock, serving
from schedules import Schedule, mixed

STEP = 0.004


def answer(body: dict[str, object], drafts: int) -> Schedule:
    """As many tokens as asked for: one per step, or with drafts two per step half as dear again."""
    wanted = int(str(body["max_tokens"])) - 1
    own = body.get("speculative", {"n_max": drafts})
    assert isinstance(own, dict)
    drafts = int(own["n_max"])
    if not drafts:
        return Schedule(prefill=0.01, step=STEP, steps=(1,) * wanted, timings=True)
    steps = (*mixed(wanted // 2, (2,)), *((1,) if wanted % 2 else ()))
    return Schedule(prefill=0.012, step=1.25 * STEP, steps=steps, timings=True, drafts=drafts)


def main() -> None:
    drafts = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    mock = Mock(lambda body: answer(body, drafts), owner="llamacpp")
    with serving(mock):
        print(f"listening on port {mock.url.rpartition(':')[2]}", flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
