"""Which files something else keeps already: git in the code snapshot, or DVC in its cache or remote.

Nothing is run for it. DVC's own small files are read as DVC writes them; one that is written in another way
tracks nothing, and the data is kept by us. A DVC file that the code snapshot does not have is not relied on:
a replay could not find it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from reprokit.digest import git_blob

__all__ = ["Tracked", "outputs"]

_LARGEST = 256 * 10**6  # bytes of a DVC file or list that are read here
_ITEM = re.compile(r"(?P<indent> *)(?P<dash>- )?(?P<key>[A-Za-z_0-9]+): ?(?P<value>.*)")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True, slots=True)
class Output:
    """What DVC says of one output: ``path`` as written, relative to the folder of the DVC file."""

    path: str
    md5: str
    size: int | None = None
    remote: str | None = None


def outputs(text: str) -> list[Output]:
    """Return the outputs that a ``.dvc`` file or a ``dvc.lock`` names, when it is written as DVC does.

    >>> outputs("outs:\\n- md5: d3b07384d113edec49eaa6238ad5ff00\\n  size: 4\\n  hash: md5\\n  path: a.csv\\n")[0].path
    'a.csv'
    """
    found = []
    for entry in _entries(text.splitlines()):
        size, md5, path = entry.get("size", ""), entry.get("md5", ""), _plain(entry.get("path", ""))
        if path and _MD5.fullmatch(md5) and entry.get("hash", "md5") == "md5":
            found.append(Output(path, md5, int(size) if size.isdigit() else None, entry.get("remote")))
    return found


def _entries(lines: list[str]) -> Iterator[dict[str, str]]:
    """Yield the mappings of every list called ``outs``."""
    indent: int | None = None  # of the dashes of the list that is being read
    entry: dict[str, str] = {}
    for line in lines:
        match = _ITEM.fullmatch(line)
        depth = len(line) - len(line.lstrip(" "))
        if indent is not None and match and depth == indent and match["dash"]:
            yield entry
            entry = {match["key"]: match["value"]}
        elif indent is not None and match and depth == indent + 2 and entry:
            entry[match["key"]] = match["value"]
        elif indent is None or depth < indent or (depth == indent and not line.startswith(" " * indent + "- ")):
            yield entry
            entry = {}
            indent = depth if match and match["key"] == "outs" and not match["dash"] and not match["value"] else None
    yield entry


def _plain(value: str) -> str:
    """Return a scalar that needs no reading of escapes, else nothing."""
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    return "" if value[:1] in ('"', "|", ">", "&", "*", "!", "{", "[", "") else value


@dataclass(slots=True)
class _Home:
    """A folder that DVC was initialised in."""

    folder: str
    cache: str
    remotes: frozenset[str]
    default: str | None

    @classmethod
    def of(cls, folder: str) -> _Home:
        import configparser  # not before somebody uses DVC

        config = configparser.ConfigParser(interpolation=None, strict=False)
        for name in ("config", "config.local"):
            try:
                config.read(os.path.join(folder, ".dvc", name), encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError):
                continue
        remotes = frozenset(name.strip("'").removeprefix('remote "').rstrip('"') for name in config.sections())
        own = config.get("cache", "dir", fallback="cache")
        return cls(folder, os.path.join(folder, ".dvc", own), remotes, config.get("core", "remote", fallback=None))

    def where(self, md5: str) -> str:
        return os.path.join(self.cache, "files", "md5", md5[:2], md5[2:])

    def can_give(self, md5: str, remote: str | None) -> bool:
        """Return whether the bytes can be had again: from the cache, or on trust from a remote."""
        return os.path.exists(self.where(md5)) or (remote or self.default) in self.remotes


@dataclass(slots=True)
class Tracked:
    """What the code snapshot and DVC keep.

    Attributes:
        blobs: returns absolute path → git blob of every file in the code snapshot.
        announce: called with a path just before it is read here.
    """

    blobs: Callable[[], Mapping[str, str]]
    announce: Callable[[str], None] = lambda path: None
    _homes: dict[str, _Home | None] = field(default_factory=dict)
    _files: dict[str, tuple[float, dict[str, Output]]] = field(default_factory=dict)
    _lists: dict[str, dict[str, str]] = field(default_factory=dict)

    def blob(self, path: str) -> str | None:
        """Return the git blob that the code snapshot has for a path."""
        return self.blobs().get(path)

    def md5(self, path: str, size: int) -> str | None:
        """Return the MD5 of what DVC keeps for a path, when it has this size and can be had again."""
        home = self._home(os.path.dirname(path))
        if home is None:
            return None
        output, member = self._covering(home, path)
        if output is None:
            return None
        md5: str | None = output.md5
        if member:
            md5 = self._members(home, output.md5).get(member)
        elif output.size not in (None, size):
            return None
        return md5 if md5 is not None and home.can_give(md5, output.remote) else None

    def _home(self, folder: str) -> _Home | None:
        if folder not in self._homes:
            if len(self._homes) > 10_000:
                self._homes.clear()
            if os.path.isdir(os.path.join(folder, ".dvc")):
                self._homes[folder] = _Home.of(folder)
            else:
                parent = os.path.dirname(folder)
                self._homes[folder] = self._home(parent) if parent != folder else None
        return self._homes[folder]

    def _covering(self, home: _Home, path: str) -> tuple[Output | None, str]:
        """Return the output that a path is, or lies in, and its name in that."""
        place = path
        while place != home.folder and len(place) > len(home.folder):
            output = self._outputs(place + ".dvc").get(place) or self._locked(home, place)
            if output is not None and (place == path) != output.md5.endswith(".dir"):
                return output, "" if place == path else os.path.relpath(path, place).replace(os.sep, "/")
            place = os.path.dirname(place)
        return None, ""

    def _locked(self, home: _Home, place: str) -> Output | None:
        folder = os.path.dirname(place)
        while len(folder) >= len(home.folder):
            output = self._outputs(os.path.join(folder, "dvc.lock")).get(place)
            if output is not None:
                return output
            folder = os.path.dirname(folder)
        return None

    def _outputs(self, name: str) -> dict[str, Output]:
        """Return what a DVC file names, by absolute path; nothing when it is not the one in the code snapshot."""
        blob = self.blob(name)
        if blob is None:
            return {}
        try:
            changed = os.stat(name).st_mtime
            known = self._files.get(name)
            if known is None or known[0] != changed:
                known = self._files[name] = (changed, self._read(name, blob))
        except (OSError, UnicodeDecodeError):
            return {}
        return known[1]

    def _read(self, name: str, blob: str) -> dict[str, Output]:
        data = self._bytes(name)
        if git_blob(data, "sha256" if len(blob) == 64 else "sha1") != blob or b"wdir:" in data:
            return {}
        folder = os.path.dirname(name)
        if name.endswith("dvc.lock") and b"wdir:" in self._bytes(os.path.join(folder, "dvc.yaml")):
            return {}
        return {os.path.normpath(os.path.join(folder, one.path)): one for one in outputs(data.decode("utf-8"))}

    def _members(self, home: _Home, md5: str) -> dict[str, str]:
        """Return path → MD5 of the files of a folder that DVC tracks, when its cache has the list."""
        if md5 not in self._lists:
            try:
                entries = json.loads(self._bytes(home.where(md5)))
                self._lists[md5] = {entry["relpath"]: entry["md5"] for entry in entries}
            except (ValueError, KeyError, TypeError):
                return {}
        return self._lists[md5]

    def _bytes(self, path: str) -> bytes:
        try:
            self.announce(path)
            with open(path, "rb", buffering=0) as file:
                return file.read(_LARGEST)
        except OSError:
            return b""
