"""Files behind URLs: `s3://`, `gs://` and every other scheme of fsspec.

Where a storage reports a hash of its content (the ETag of S3, the MD5 of Google's), that is used and nothing is
read to track a file. Anywhere else the content is read and hashed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from naiad.disk import nothing, replacing, write_all
from naiad.errors import EmptyLocation, MissingPackage, OriginalChanged, OriginalMissing, RemoteError
from naiad.files.progress import counted
from naiad.files.threads import in_threads
from naiad.files.tracked import ArtifactDriver, Progress, TrackedFile
from naiad.hookspecs import hookimpl
from naiad.scalars import microseconds
from naiad.settings import setting

BLOCK = 8 * 1024 * 1024
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
EXTRAS = {"s3fs": "s3", "gcsfs": "gcs"}
STORAGES = {"s3fs": "S3", "gcsfs": "GCS"}
CONTENT_HASHES = {"S3": ("ETag",), "GCS": ("md5Hash", "etag")}
TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
ERRORS = {  # what the packages raise beside OSError
    "botocore.exceptions": "BotoCoreError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
    "aiohttp": "ClientError",
}


@hookimpl
def naiad_artifact_driver(scheme: str) -> ArtifactDriver | None:
    """All schemes of fsspec, if it is installed."""
    package = PACKAGES.get(scheme, "fsspec")
    # Asked before fsspec, whose own message for a missing s3fs names no extra of naiad.
    if scheme in PACKAGES and not _is_installed(package):
        raise MissingPackage(
            f"Files at {scheme}:// need {package}, which is not installed.\n"
            f'Install it with: pip install "naiad[{EXTRAS[package]}]"',
            package=package,
        )
    if not _is_installed("fsspec"):
        return None
    from fsspec.registry import known_implementations, registry  # type: ignore[import-untyped]  # it has no types

    return RemoteDriver(scheme) if scheme in known_implementations or scheme in registry else None


def _is_installed(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


class RemoteDriver(ArtifactDriver):
    """One scheme. Credentials are found as the package behind it finds them; `S3_ENDPOINT_URL` names another server."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._storage = STORAGES.get(PACKAGES.get(scheme, ""), scheme)

    def track(self, location: str, progress: Progress) -> list[TrackedFile]:
        """The objects below a prefix that ends at a `/`, or the one object."""
        with self._files(location) as (files, top):
            # One listing has sizes, times and hashes of all objects; asking for each would be a request an object.
            infos = _find(files, top)
            if not infos:
                raise EmptyLocation(f"There is no file to track at {location!r}.", path=location)
            report = counted(progress, sum(info.get("size") or 0 for info in infos.values()))
            return in_threads(lambda path: self._tracked(files, top, path, infos[path], report), sorted(infos))

    def _tracked(
        self, files: Any, top: str, path: str, info: dict[str, Any], report: Callable[[int], object]
    ) -> TrackedFile:
        content, size = self._reported_hash(info), info.get("size")
        if content is None or size is None:
            content, size = _read(files, path, None, report)
        else:
            report(size)
        name = path[len(top) :].lstrip("/") or path.rpartition("/")[2]
        return TrackedFile(name, content, size, _modified(info), self._storage, self._location(path))

    def _reported_hash(self, info: dict[str, Any]) -> str | None:
        """The hash of the content as the storage reports it, or None."""
        reported = (info.get(name) for name in CONTENT_HASHES.get(self._storage, ()))
        return next((str(one).strip('"') for one in reported if one), None)

    def _location(self, path: str) -> str:
        return path if "://" in path else f"{self._scheme}://{path}"

    def fetch(self, file: TrackedFile, target: Path, report: Callable[[int], object]) -> None:
        """Copy an object, and make sure that it was the tracked one from beginning to end."""
        with self._files(file.location) as (files, path):
            try:
                # Before and after the copy: an object that was replaced while it was read would be a mixture of two.
                self._compare(files, path, file)
                with replacing(target) as fd:
                    content, _size = _read(files, path, fd, report)
                    # Only where the storage reports no hash is the content's own compared: an ETag is no SHA-256.
                    if self._compare(files, path, file) is None and content != file.content:
                        raise _changed(file)
            except FileNotFoundError as error:
                message = f"The tracked file {file.location!r} no longer exists."
                raise OriginalMissing(message, path=file.location) from error

    def _compare(self, files: Any, path: str, file: TrackedFile) -> str | None:
        files.invalidate_cache()
        reported = self._reported_hash(files.info(path))
        if reported is not None and reported != file.content:
            raise _changed(file)
        return reported

    @contextmanager
    def _files(self, location: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system of a location and the path in it; errors become RemoteError."""
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it has no types

        endpoint = setting("S3_ENDPOINT_URL") or os.environ.get("S3_ENDPOINT_URL")
        options = {"endpoint_url": endpoint} if endpoint and self._storage == "S3" else {}
        try:
            files, path = url_to_fs(location, **options)
            files.invalidate_cache()  # of listings, which fsspec keeps as long as the process lives
            yield files, path.rstrip("/")
        # These are OSErrors as well, and already say what is wrong.
        except (EmptyLocation, OriginalMissing, OriginalChanged):
            raise
        except ImportError as error:
            message = f"Files at {location!r} need a package that is not installed: {error}"
            raise MissingPackage(message, package=error.name or "") from error
        except _errors() as error:
            number = error.errno if isinstance(error, OSError) else None
            message = f"{location!r} cannot be read: {type(error).__name__}: {error}"
            raise RemoteError(message, path=location, errno=number) from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions a storage may raise, from the packages that are loaded."""
    loaded = ((sys.modules.get(module), name) for module, name in ERRORS.items())
    return OSError, *(getattr(module, name) for module, name in loaded if module is not None)


def _find(files: Any, top: str) -> dict[str, dict[str, Any]]:
    try:
        found = files.find(top, detail=True)
    except FileNotFoundError:
        return {}
    # Consoles of storages make empty objects that end in a slash, to show a folder where there is none.
    return {path: info for path, info in found.items() if info.get("type") != "directory" and not path.endswith("/")}


def _read(files: Any, path: str, target: int | None, report: Callable[[int], object] = nothing) -> tuple[str, int]:
    """SHA-256 and size of an object, copied to the target if there is one."""
    sha, size = hashlib.sha256(), 0
    with files.open(path, "rb", block_size=BLOCK) as stream:
        while data := stream.read(BLOCK):
            sha.update(data)
            if target is not None:
                write_all(target, data, size)
            size += len(data)
            report(len(data))
    return sha.hexdigest(), size


def _modified(info: dict[str, Any]) -> int:
    reported = next((info[name] for name in TIMES if info.get(name)), None)
    if reported is None:
        return 0
    if isinstance(reported, str):
        reported = datetime.fromisoformat(reported.replace("Z", "+00:00"))
    return microseconds(reported) * 1000 if isinstance(reported, datetime) else int(reported * 1e9)


def _changed(file: TrackedFile) -> OriginalChanged:
    message = f"The tracked file {file.location!r} has changed since it was tracked, so it was not copied."
    return OriginalChanged(message, path=file.location)
