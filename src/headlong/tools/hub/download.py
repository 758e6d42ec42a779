"""Bring a model from the hub into its cache, and go on where an earlier attempt stopped.

Files lie where huggingface_hub and its other users look for them.  While one is on its way it is
called ``blobs/ETAG.headlong``; that name is the same in every attempt, which the library's own
temporary names are not, so an interrupted download is not lost.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from headlong.errors import DownloadError
from headlong.progress import Progress, Stage
from headlong.tools.hub.choice import Model, choose
from headlong.tools.hub.reference import Reference
from headlong.tools.hub.repository import Hub, Listing, UnreachableError, hub_errors

try:
    import fcntl
except ImportError:  # a system without POSIX locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["fetch"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BLOCK: Final = 8 << 20
# What a disk should keep free: a full one breaks more than this download.
_SPARE: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class _Missing:
    """A file that is not in the cache yet."""

    name: str
    url: str
    etag: str
    size: int
    partial: Path

    @property
    def done(self) -> int:
        """Bytes that an earlier attempt left."""
        return min(self.size, self.partial.stat().st_size) if self.partial.exists() else 0


def fetch(wanted: Reference, hub: Hub, progress: Progress) -> Path:
    """The model's file (of a split model, the first part), downloaded where it is not yet.

    Without a connection, what is in the cache is used.

    Raises:
        DownloadError: it cannot be had; says why, and what to do.
        OSError: the cache cannot be written.
    """
    try:
        listing = hub.list_files(wanted)
    except UnreachableError as error:
        return _from_cache(wanted, hub, progress, error)
    model = choose(wanted, listing.files)
    missing = []
    for name in model.files:
        if not _snapshot(hub, wanted, listing, name).exists():
            missing.append(_locate(wanted, hub, listing, name))
    if missing:
        _check_space(wanted, hub, missing)
        _download(wanted, hub, listing, model, missing, progress)
    return _snapshot(hub, wanted, listing, model.files[0])


def _snapshot(hub: Hub, wanted: Reference, listing: Listing, name: str) -> Path:
    return hub.folder(wanted.repository) / "snapshots" / listing.commit / name


def _from_cache(wanted: Reference, hub: Hub, progress: Progress, why: UnreachableError) -> Path:
    for listing in hub.list_cached(wanted):
        try:
            model = choose(wanted, listing.files)
        except DownloadError:
            continue
        if not hub.offline:
            progress.note(f"{why} The file downloaded earlier is used.")
        return _snapshot(hub, wanted, listing, model.files[0])
    raise DownloadError(f"{why} Nothing that suits has been downloaded to {hub.cache} before.")


def _locate(wanted: Reference, hub: Hub, listing: Listing, name: str) -> _Missing:
    """Ask for a file's size and hash."""
    url = hf_hub_url(wanted.repository, name, revision=listing.commit, endpoint=hub.endpoint)
    with hub_errors(wanted, hub):
        about = get_hf_file_metadata(url, token=hub.token or False, endpoint=hub.endpoint)
    etag, size = about.etag, about.size
    if etag is None or size is None or not re.fullmatch(r"[0-9A-Za-z_.-]{1,128}", etag):
        raise DownloadError(f"{wanted}: {hub.endpoint} does not tell size and hash of {name}.")
    partial = hub.folder(wanted.repository) / "blobs" / f"{etag}.headlong"
    return _Missing(name, url, etag, size, partial)


def _check_space(wanted: Reference, hub: Hub, missing: Sequence[_Missing]) -> None:
    needed = sum(file.size - file.done for file in missing)
    hub.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(hub.cache).free
    if free < needed + _SPARE:
        raise DownloadError(
            f"{wanted}: {needed / 2**30:.1f} GiB are still to be downloaded, but {hub.cache} has "
            f"{free / 2**30:.1f} GiB free; make room, or name another folder in HF_HOME."
        )


def _download(
    wanted: Reference,
    hub: Hub,
    listing: Listing,
    model: Model,
    missing: Sequence[_Missing],
    progress: Progress,
) -> None:
    name = model.files[0].rpartition("/")[2]
    label = name if len(model.files) == 1 else f"{name} and {len(model.files) - 1} more"
    total = sum(file.size for file in missing)
    disable_progress_bars("huggingface_hub.http_get")
    with progress.stage(f"downloading {label}", total, "B") as stage:
        for file in missing:
            by_library = file.size > constants.MAX_HTTP_DOWNLOAD_SIZE  # which has other protocols
            if not (by_library or file.partial.with_name(file.etag).exists()):
                _download_one(wanted, hub, file, stage)
            else:
                stage.advance(file.size)
            with hub_errors(wanted, hub):  # finds the file there, and gives it its name
                hf_hub_download(
                    wanted.repository,
                    file.name,
                    revision=listing.commit,
                    cache_dir=hub.cache,
                    endpoint=hub.endpoint,
                    token=hub.token or False,
                )


def _download_one(wanted: Reference, hub: Hub, file: _Missing, stage: Stage) -> None:
    file.partial.parent.mkdir(parents=True, exist_ok=True)
    with file.partial.open("a+b") as partial, _locked(wanted, partial):
        digest = hashlib.sha256()
        have = _rehash(partial, file, digest)
        stage.advance(have)
        headers = build_hf_headers(token=hub.token or False)
        sink = _Sink(partial, digest, stage, have)
        try:
            with hub_errors(wanted, hub):
                http_get(
                    file.url,
                    sink,  # type: ignore[arg-type]
                    resume_size=have,
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.name,
                )
        except OSError as error:
            if error.errno is not None:  # of this machine's, such as a full disk
                raise
            # The library's, for a wrong number of bytes: told below.
        partial.flush()
        size = partial.seek(0, 2)
        if size != file.size or (
            _SHA256.fullmatch(file.etag) and sink.digest.hexdigest() != file.etag
        ):
            partial.truncate(0)
            raise DownloadError(
                f"{wanted}: {file.name} arrived damaged ({size} of {file.size} bytes, or another "
                "hash than announced) and was thrown away; try again."
            )
        file.partial.replace(file.partial.with_name(file.etag))


def _rehash(partial: BinaryIO, file: _Missing, digest: hashlib._Hash) -> int:
    """Take up what an earlier attempt left: its length, hashed; the file stands at its end."""
    have = partial.seek(0, 2)
    if have > file.size:
        partial.truncate(0)
        have = 0
    partial.seek(0)
    left = have
    while left and (block := partial.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    return have


@contextmanager
def _locked(wanted: Reference, partial: BinaryIO) -> Iterator[None]:
    """Keeps a second download away from the same file, until this process ends."""
    if fcntl is not None:
        try:
            fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(
                f"{wanted}: another process is downloading it; wait for that, then start again."
            ) from None
    yield


class _Sink:
    """The file that `http_get` writes into: counts, hashes, and starts over where it is told to."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash, stage: Stage, done: int) -> None:
        self._file = file
        self._stage = stage
        self._done = done
        self.digest = digest

    def write(self, block: bytes) -> int:
        """Append a block."""
        self._file.write(block)
        self.digest.update(block)
        self._done += len(block)
        self._stage.advance(len(block))
        return len(block)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._done

    def seek(self, offset: int, whence: int = 0) -> int:
        """To the beginning: the server does not go on where it was asked to."""
        assert (offset, whence) == (0, 0), "a download starts over or goes on"
        self._stage.advance(-self._done)
        self._done = 0
        return 0

    def truncate(self, size: int | None = None) -> int:
        """Drop everything, after `seek`."""
        self._file.seek(self._done)
        self._file.truncate(self._done)
        self.digest = hashlib.sha256()
        return self._done
