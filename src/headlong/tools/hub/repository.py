"""What the hub, or the cache of earlier downloads, says about a repository.

Endpoint, token, cache folder and offline mode are those of huggingface_hub: ``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HOME``, ``HF_HUB_OFFLINE``, and what `hf auth login` stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from headlong.errors import DownloadError
from headlong.tools.hub.reference import Reference

__all__ = ["Hub", "Listing", "UnreachableError", "hub_errors"]

# What the library's HTTP client raises for connections and timeouts; which client that is
# depends on the library's version, so the class is taken from where its own errors derive.
_TRANSPORT_ERROR: Final[tuple[type[BaseException], ...]] = HfHubHTTPError.__bases__[:1]


_COMMIT: Final = re.compile(r"[0-9a-zA-Z]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hub:
    """Where models come from, and the folder they are kept in."""

    endpoint: str
    cache: Path
    token: str | None = None
    offline: bool = False

    @classmethod
    def from_environment(cls) -> Hub:
        """As huggingface_hub is set up."""
        return cls(
            endpoint=constants.ENDPOINT,
            cache=Path(constants.HF_HUB_CACHE),
            token=get_token(),
            offline=constants.is_offline_mode(),
        )

    def folder(self, repository: str) -> Path:
        """The folder of a repository in the cache."""
        return self.cache / f"models--{repository.replace('/', '--')}"

    def list_files(self, wanted: Reference) -> Listing:
        """Names of the newest commit's files.

        Raises:
            UnreachableError: nobody answers, or offline mode is on.
            DownloadError: the hub refuses.
        """
        if self.offline:
            raise UnreachableError(f"{wanted}: HF_HUB_OFFLINE is set.")
        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        try:
            with hub_errors(wanted, self):
                info = api.model_info(wanted.repository, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        except (AttributeError, KeyError, TypeError, ValueError):  # of an answer in another form
            raise DownloadError(
                f"{wanted}: {self.endpoint} does not answer as a hub does; check HF_ENDPOINT, and "
                "whether a proxy asks for a login."
            ) from None
        if info.sha is None or not _COMMIT.fullmatch(info.sha):
            raise DownloadError(f"{wanted}: {self.endpoint} does not tell the newest commit.")
        names = (file.rfilename for file in info.siblings or ())
        return Listing(info.sha, tuple(name for name in names if _is_plain(name)))

    def list_cached(self, wanted: Reference) -> Iterator[Listing]:
        """Commits of which files are in the cache, the newest first."""
        snapshots = self.folder(wanted.repository) / "snapshots"
        if not snapshots.is_dir():
            return
        folders = [folder for folder in snapshots.iterdir() if folder.is_dir()]
        for folder in sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True):
            files = [file for file in sorted(folder.rglob("*.gguf")) if file.exists()]
            if files:
                names = tuple(file.relative_to(folder).as_posix() for file in files)
                yield Listing(folder.name, names)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one commit."""

    commit: str
    files: tuple[str, ...]


class UnreachableError(DownloadError):
    """The hub does not answer; what is in the cache can still be used."""


@contextmanager
def hub_errors(wanted: Reference, hub: Hub) -> Iterator[None]:
    """Tells the library's errors in a sentence.  Raises `DownloadError` or `UnreachableError`."""
    place = f"{hub.endpoint}/{wanted.repository}"
    token = (
        "the token that is set is not allowed to"
        if hub.token
        else "no token is set; put one into HF_TOKEN"
    )
    try:
        yield
    except DownloadError:
        raise
    except GatedRepoError:
        raise DownloadError(
            f"{wanted}: its owners ask for consent: give it at {place}, then set HF_TOKEN "
            f"({token})."
        ) from None
    except RepositoryNotFoundError:
        raise DownloadError(
            f"{wanted}: there is no repository {place}, or it is private ({token})."
        ) from None
    except OfflineModeIsEnabled:
        raise UnreachableError(f"{wanted}: HF_HUB_OFFLINE is set.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise DownloadError(
                f"{wanted}: {hub.endpoint} refuses with {status} ({token})."
            ) from None
        if status == 429 or status >= 500:
            raise UnreachableError(
                f"{wanted}: {hub.endpoint} answers {status}; try again later."
            ) from None
        raise DownloadError(f"{wanted}: {hub.endpoint} answers {status}.") from None
    except (LocalEntryNotFoundError, FileMetadataError):
        raise UnreachableError(
            f"{wanted}: {hub.endpoint} does not tell what a download needs; try again later."
        ) from None
    except _TRANSPORT_ERROR as error:
        raise UnreachableError(
            f"{wanted}: {hub.endpoint} cannot be reached ({_reason(error)}); check the connection "
            "and HF_ENDPOINT. What is downloaded stays, and the same command goes on from there."
        ) from None


def _is_plain(name: str) -> bool:
    """Whether a name of a file can be shown and stays inside its folder."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    text = " ".join(str(error).split())[:200]
    return f"{name}: {text}" if text else name
