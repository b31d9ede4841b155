"""Whether what is installed is what was installed: every file against the hash that its installer noted.

It reads all of an environment (about 1 s for 1 GB), so it belongs into a process of its own. What conda
installed, and compiled files, which Python writes, are not checked.
"""

from __future__ import annotations

import base64
import binascii
import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from reprokit import digest
from reprokit.capture.environment import environment
from reprokit.capture.environment.environment import BY_INSTALLER, OWN_NAME, Found
from reprokit.records import Environment

__all__ = ["as_it_is", "edited"]


def edited(found: Found) -> dict[str, str | None]:
    """Return the files of a distribution that are not as they were installed, by their path in RECORD.

    Returns:
        Path → digest of what the file holds now; None when it is gone.
    """
    if found.path.suffix != ".dist-info":
        return {}
    changed: dict[str, str | None] = {}
    for name, expected, size in _recorded(found.path):
        now = _digest(found.path.parent / name, size, expected)
        if now != expected:
            changed[name] = now
    return changed


def as_it_is(
    observed: Environment, present: Iterable[Found], names: frozenset[str] | None = None
) -> tuple[Environment, dict[str, tuple[str, ...]]]:
    """Return an environment with what was changed by hand taken into account.

    A changed distribution gets a ``content``, so the environment has another fingerprint than it would have.

    Args:
        observed: what was recorded.
        present: what is installed.
        names: the distributions to look at; all by default.

    Returns:
        The environment, and the changed files by distribution.
    """
    known = {d.name: d for d in observed.distributions}
    changes: dict[str, tuple[str, ...]] = {}
    for found in present:
        name = found.distribution.name
        same = name in known and known[name].version == found.distribution.version
        if not same or name == OWN_NAME or (names is not None and name not in names):
            continue
        if known[name].origin not in ("index", "vcs"):  # a local one is kept as it is, whatever it was
            continue
        changed = edited(found)
        if changed:
            content = digest.of_json(sorted([path, now or ""] for path, now in changed.items()))
            known[name] = replace(known[name], content=content)
            changes[name] = tuple(sorted(changed))
    if not changes:
        return observed, {}
    distributions = tuple(known[name] for name in sorted(known))
    named = environment.fingerprint(observed.python, observed.implementation, distributions)
    return replace(observed, fingerprint=named, distributions=distributions), changes


def _recorded(info: Path) -> Iterator[tuple[str, str, int | None]]:
    """Yield path, digest and size of the files in RECORD that are the distribution's own."""
    try:
        rows = csv.reader((info / "RECORD").read_text("utf-8").splitlines())
    except OSError:
        return
    for row in rows:
        if len(row) < 2 or not row[1].startswith("sha256=") or row[0].startswith(("../", "/")):
            continue
        folder, _, name = row[0].rpartition("/")
        if name.endswith(".pyc") or (folder == info.name and name in BY_INSTALLER):
            continue
        expected = _named(row[1].removeprefix("sha256="))
        if expected is not None:
            yield row[0], expected, int(row[2]) if len(row) > 2 and row[2].isdigit() else None


def _named(text: str) -> str | None:
    """Return the digest that RECORD writes as base64 without padding."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return f"sha256:{raw.hex()}" if len(raw) == 32 else None


def _digest(path: Path, size: int | None, expected: str) -> str | None:
    try:
        if size is not None and os.stat(path).st_size == size and size == 0:
            return expected
        return digest.of_file(path)
    except OSError:
        return None
