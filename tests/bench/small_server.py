"""A server for tests of starting and stopping: python small_server.py PORT [how]."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BORN = time.monotonic()
LOADS = 0.3


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        loading = "slow" in sys.argv and time.monotonic() - BORN < LOADS
        known = self.path == "/v1/models" or (self.path == "/health" and "slow" in sys.argv)
        self.send_response(503 if loading else 200 if known else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    how = sys.argv[2:]
    if "fails" in how:
        print("no such model", flush=True)
        sys.exit(3)
    if "stubborn" in how:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "parent" in how:
        # A child in a session of its own: no signal to the group reaches it.
        child = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
        print(f"child {child.pid}", flush=True)
    if "silent" in how:
        time.sleep(60)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"pid {os.getpid()} listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()


SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"

if __name__ == "__main__":
    main()
