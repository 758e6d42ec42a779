"""The socket, taken before the model is loaded: a port in use is told at once, not in a minute."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Any, Final

from headlong.errors import ParameterError

__all__ = ["address_of", "listen"]

_BACKLOG: Final = 1024
_NEXT_PORTS: Final = 100


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises `ParameterError` naming the address and what stands in the way.
    """
    where = f"port {port} of {host}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ParameterError(
            f"host '{host}' is no address of this machine; 127.0.0.1 is the one that only this "
            "machine can reach, 0.0.0.0 stands for all."
        ) from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        # Connections of a server that was killed linger for a minute; they must not stop the next.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        match error.errno:
            case errno.EADDRINUSE:
                free = _free_port(family, address)
                other = f"take --port {free}" if free else "choose another --port"
                why = f"{where} is in use; stop what listens there, or {other}."
            case errno.EACCES | errno.EPERM:
                why = f"{where} may not be used without privileges; choose a --port above 1023."
            case errno.EADDRNOTAVAIL:
                why = f"{host} is no address of this machine; choose another --host."
            case _:
                why = f"{where} cannot be listened on: {error.strerror}."
        raise ParameterError(why) from None
    listening.setblocking(False)
    return listening


def _free_port(family: int, address: tuple[Any, ...]) -> int | None:
    """The next port that could be listened on now."""
    for port in range(address[1] + 1, min(65536, address[1] + 1 + _NEXT_PORTS)):
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((address[0], port, *address[2:]))
            attempt.listen(1)
            return port
    return None


def address_of(listening: socket.socket, host: str) -> str:
    """The base URL under which this machine reaches the server."""
    port = listening.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
