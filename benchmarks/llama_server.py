"""llama.cpp from the `xllamacpp` wheel as a process of its own, at its fastest settings.

Weights are rearranged at load for its fast kernels, flash attention where it chooses so, as many
threads as asked for.  Prints one JSON line, {"port": ..., "version": ..., "system": ...} or
{"error": ...}, and serves until standard input ends.

    python benchmarks/llama_server.py MODEL CONTEXT THREADS DRAFT P_MIN
"""

from __future__ import annotations

import json
import os
import sys

import xllamacpp as llama


def open_server(model: str, context: int, threads: int, draft: int, p_min: float) -> llama.Server:
    """A server for one model and one sequence; a draft of 0 leaves the head out."""
    params = llama.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_ctx_checkpoints = 0
    params.cache_ram_mib = 0
    params.fit_params = False
    params.verbosity = -1
    if draft:
        params.load_mtp = True
        mtp = llama.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP
        params.speculative.types = [mtp]
        own = params.speculative.draft
        own.n_max, own.n_min, own.p_min = draft, 0, p_min
        own.cpuparams.n_threads = own.cpuparams_batch.n_threads = threads
    return llama.Server(params)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # llama.cpp's own output goes to stderr
    model, context, threads, draft, p_min = sys.argv[1:]
    try:
        server = open_server(model, int(context), int(threads), int(draft), float(p_min))
    except Exception as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        sys.exit(1)
    about = {
        "port": int(server.listening_address.rsplit(":", 1)[1]),
        "version": f"xllamacpp {llama.__version__}",
        "system": llama.get_system_info().strip(),
    }
    answers.write(json.dumps(about) + "\n")
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
