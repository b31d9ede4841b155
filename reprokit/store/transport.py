"""A remote as a place for files under names that never change: put once, read, listed. Knows fsspec, and no runs.

What a name holds never changes, so whoever finds a name there need not put it again, and two may put the same at the
same time. On filesystems a file gets its name when it is whole; object stores do so by themselves.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reprokit.digest import is_file_named, of_file
from reprokit.errors import StoreError, UsageError
from reprokit.store.remote import configured

__all__ = ["Remote", "connect", "is_remote"]

T = TypeVar("T")
R = TypeVar("R")

_WIDE = 16  # transfers at a time
_RENAMING = ("file", "local", "sftp", "ssh")  # where a file that is being written can be seen


def is_remote(word: str, project: Path) -> bool:
    """Return whether a word means a remote and not a run: an address, a path, or the name of a remote of DVC's."""
    a_path = "/" in word or word in (".", "..", "~")
    return "://" in word or (a_path and "@" not in word) or word in configured(project)


def connect(word: str, project: Path) -> Remote:
    """Return the remote at an address, at a path, or of a name that DVC has it under.

    Raises:
        UsageError: there is no way to get there.
    """
    import fsspec

    known = configured(project).get(word, {})
    url = str(known.get("url", word))
    address = url if "://" in url else str(Path(project, Path(url).expanduser()).absolute())
    try:
        fs, path = fsspec.core.url_to_fs(address, **_options(known))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{word} cannot be reached ({error})", remedy=_remedy(address)) from error
    return Remote(fs=fs, path=path.rstrip("/"), name=word)


def _options(known: dict[str, Any]) -> dict[str, Any]:
    """Return what the user told DVC of a remote, as the library that goes there wants it."""
    names = {"access_key_id": "key", "secret_access_key": "secret", "profile": "profile"}
    found: dict[str, Any] = {name: known[key] for key, name in names.items() if key in known}
    if "endpointurl" in known:
        found["client_kwargs"] = {"endpoint_url": known["endpointurl"]}
    return found


def _remedy(address: str) -> str:
    scheme = address.partition("://")[0]
    return f"install what reads {scheme}:// (`pip install 'dvc[{scheme}]'`), or name a folder"


@dataclass(frozen=True)
class Remote:
    """Files below one place.

    Attributes:
        fs: the filesystem.
        path: the place in it.
        name: what the user calls it.
    """

    fs: Any
    path: str
    name: str

    def names(self, folder: str) -> list[str]:
        """Return the names right below a folder, as they are now; none when there is no such folder."""
        try:
            self.fs.invalidate_cache()
            found = self.fs.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._trouble("listed", folder, error) from error
        return sorted(posixpath.basename(path.rstrip("/")) for path in found)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None when it is not there."""
        try:
            return int(self.fs.info(self._at(name))["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble("looked at", name, error) from error

    def read(self, name: str, *, most: int) -> bytes:
        """Return a small file's bytes.

        Raises:
            StoreError: it is not there, has more than ``most`` bytes, or the remote does not answer.
        """
        self._require_file(name)
        try:
            data: bytes = self.fs.cat_file(self._at(name), start=0, end=most + 1)
        except Exception as error:
            raise self._trouble("read", name, error) from error
        if len(data) > most:
            raise StoreError(f"{name} at {self.name} is larger than any that is pushed", remedy="remove it there")
        return data

    def put(self, source: Path, name: str) -> bool:
        """Put a file there; return whether it was not there yet.

        Raises:
            StoreError: it could not be put there whole.
        """
        size = source.stat().st_size
        if self.size(name) == size:
            return False
        target = self._at(name)
        renaming = self._protocol in _RENAMING
        draft = f"{target}.{os.urandom(6).hex()}.part" if renaming else target
        try:
            self.fs.makedirs(posixpath.dirname(target), exist_ok=True)
            self.fs.put_file(str(source), draft)
            if renaming:
                self.fs.mv(draft, target)
            self.fs.invalidate_cache()
        except Exception as error:
            raise self._trouble("written", name, error) from error
        self._verify(source, name, size)
        return True

    def get(self, name: str, target: Path, digest: str) -> None:
        """Fetch a file; nothing is at ``target`` unless it has the digest.

        Raises:
            StoreError: it is not there, or its bytes are others.
        """
        self._require_file(name)
        draft = target.with_name(f"{target.name}.{os.urandom(6).hex()}.part")
        try:
            try:
                self.fs.get_file(self._at(name), str(draft))
            except Exception as error:
                raise self._trouble("read", name, error) from error
            if (found := of_file(draft)) != digest:
                remedy = "remove it there and push the run again"
                raise StoreError(f"{self.name} has other bytes for {digest} ({found})", path=target, remedy=remedy)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do work on items, many at a time; the first that fails ends it."""
        with ThreadPoolExecutor(_WIDE) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _require_file(self, name: str) -> None:
        """Refuse what never ends, or waits for somebody to write: a pipe or a device in a folder."""
        path = Path(self._at(name))
        if self._protocol in ("file", "local") and path.exists() and not path.is_file():
            raise StoreError(f"{name} at {self.name} is no file", remedy="remove it there")

    def _verify(self, source: Path, name: str, size: int) -> None:
        """Look at what has come; where reading costs nothing it is read."""
        local = self._protocol in ("file", "local")
        if self.size(name) != size or (local and not is_file_named(Path(self._at(name)), of_file(source))):
            raise StoreError(f"{name} did not come to {self.name} whole", remedy="push again")

    @property
    def _protocol(self) -> str:
        protocol = self.fs.protocol
        return str(protocol if isinstance(protocol, str) else protocol[0])

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _trouble(self, what: str, name: str, error: Exception) -> StoreError:
        text = " ".join(str(error).split()) or type(error).__name__
        remedy = "see that the remote is there, and that you may use it"
        return StoreError(f"{name} cannot be {what} at {self.name} ({text})", remedy=remedy)
