"""Why a server does not take a request, or does not finish one, that a library would."""

from __future__ import annotations

from headlong.errors import HeadlongError

__all__ = ["Broken", "Expired", "NotReady", "QueueFull", "ShuttingDown"]


class QueueFull(HeadlongError):  # noqa: N818 - a state, not a mistake
    """As many requests wait as may; ``retry_after`` is a guess in whole seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(HeadlongError):  # noqa: N818 - a state, not a mistake
    """The model is being loaded, or could not be."""


class ShuttingDown(NotReady):
    """The server is about to end."""


class Expired(HeadlongError):  # noqa: N818 - a state, not a mistake
    """A request took longer than the server's settings allow; ``queued``: it never started."""

    def __init__(self, message: str, *, queued: bool) -> None:
        super().__init__(message)
        self.queued = queued


class Broken(HeadlongError):  # noqa: N818 - a state, not a mistake
    """A fault of the engine ended an answer; the log tells more under ``incident``."""

    def __init__(self, incident: str) -> None:
        super().__init__(
            f"the answer ended because a step of the engine failed (incident {incident} in the "
            "server's log); send the request again."
        )
        self.incident = incident
