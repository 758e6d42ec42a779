"""The process in which llama.cpp runs: opens models on request and serves them over HTTP.

A separate process, because llama.cpp ends the process on a failed check and prints to the
process's own output. Requests are JSON lines on stdin, answers JSON lines on stdout:

    {"open": {...settings}}  ->  {"id": 0, "port": 40001}  or  {"error": "..."}
    {"close": 0}             ->  {"closed": 0}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import xllamacpp as llama


def open_model(settings: dict[str, Any]) -> llama.Server:
    """A server for one model, with everything off that could change results between calls."""
    params = llama.CommonParams()
    params.model.path = settings["path"]
    params.n_ctx = settings["context"]
    params.n_parallel = 1
    params.n_ubatch = settings["ubatch"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.warmup = False
    params.verbosity = -1
    params.n_ctx_checkpoints = 0
    params.cache_ram_mib = 0
    params.fit_params = False
    params.no_extra_bufts = not settings["repack"]
    kv_type = getattr(llama.ggml_type, f"GGML_TYPE_{settings['kv_type']}")
    params.cache_type_k = params.cache_type_v = kv_type
    params.flash_attn_type = (
        llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if settings["flash_attention"]
        else llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    if settings["draft"]:
        params.load_mtp = True
        mtp = llama.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP
        params.speculative.types = [mtp]
        params.speculative.draft.n_max = settings["draft"]
        params.speculative.draft.n_min = 0
        params.speculative.draft.p_min = 0.0
        params.speculative.draft.cache_type_k = params.speculative.draft.cache_type_v = kv_type
    if settings["hidden"]:
        params.embedding = True
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_NONE
    return llama.Server(params)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # llama.cpp's own output goes to stderr
    servers: dict[int, llama.Server] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "close" in request:
            del servers[request["close"]]
            answers.write(json.dumps({"closed": request["close"]}) + "\n")
            continue
        try:
            server = open_model(request["open"])
        except Exception as error:
            answers.write(json.dumps({"error": str(error)}) + "\n")
            continue
        name = max(servers, default=-1) + 1
        servers[name] = server
        port = int(server.listening_address.rsplit(":", 1)[1])
        answers.write(json.dumps({"id": name, "port": port}) + "\n")


if __name__ == "__main__":
    main()
