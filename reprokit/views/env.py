"""A run's environment as text: what it was, whether it can be installed again, how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.views.plain import count, hexes, indent, plain, size

__all__ = ["differences_text", "environment_text", "wheelhouse_text"]

_ORIGINS = {
    "index": "from an index",
    "vcs": "from a commit",
    "local": "from a file or folder",
    "editable": "editable",
    "conda": "from conda",
    "unknown": "of unknown origin",
}
_HOW = {"hashes": "locked with hashes", "wheel": "kept as a wheel", "vcs": "kept as a commit", None: "NOT LOCKED"}
_SHOWN = 20


def environment_text(document: Mapping[str, Any]) -> str:
    """Return what ``env --json`` says, to read.

    Args:
        document: the documented form.
    """
    packages = document["packages"]
    lines = [f"environment of run {plain(document['run'])}", *_facts(document, packages)]
    special = [one for one in packages if one["origin"] != "index" or one["locked"] != "hashes"]
    lines += ["", "Not simply from an index:"] if special else []
    lines += [f"  {_line(one)}" for one in special[:_SHOWN]]
    lines += [f"  … and {len(special) - _SHOWN} more (`--json`)"] if len(special) > _SHOWN else []
    for gap in document["gaps"]:
        lines += ["", f"{'✗' if gap['blocks'] else '-'} {plain(gap['message'])}"]
        lines += indent([f"→ {plain(gap['remedy'])}"] if gap["remedy"] else [])
    return "\n".join(lines)


def _facts(document: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]) -> list[str]:
    kind = "" if document["implementation"] == "cpython" else f" ({plain(document['implementation'])})"
    origins = {origin: sum(one["origin"] == origin for one in packages) for origin in _ORIGINS}
    parts = [f"{number} {_ORIGINS[origin]}" for origin, number in origins.items() if number]
    blocked = any(gap["blocks"] for gap in document["gaps"])
    lock = "cannot be made again" if blocked else f"complete ({hexes(document['lock'])})"
    built = plain(document["built"]) if document["built"] else "not built yet: `reprokit replay` does so when needed"
    return [
        f"  python    {plain(document['python'])}{kind}",
        f"  packages  {count(len(packages), 'package')}: {', '.join(parts)}" if packages else "  packages  none",
        f"  lock      {lock}",
        f"  built     {built}",
    ]


def _line(one: Mapping[str, Any]) -> str:
    where = f" {plain(one['url'])}" if one["url"] else ""
    at = f" at {hexes(one['commit'])}" if one["commit"] else ""
    how = _HOW.get(one["locked"], "NOT LOCKED") if not one["name"].startswith("conda:") else "conda's own"
    return f"{plain(one['name'])} {plain(one['version'])} ({_ORIGINS.get(one['origin'], '')}{where}{at}): {how}"


def differences_text(run: str, other: str, found: Sequence[str]) -> str:
    """Return how two environments differ.

    Args:
        run: the first run.
        other: the second, or "current".
        found: the differences, one line each.
    """
    whose = "this environment" if other == "current" else f"that of {plain(other)}"
    if not found:
        return f"The environment of {plain(run)} and {whose} are the same."
    return "\n".join([f"From the environment of {plain(run)} to {whose}:", *(f"  {plain(line)}" for line in found)])


def wheelhouse_text(folder: str, bytes_: int, packed: Sequence[tuple[str, str, str]]) -> str:
    """Return what a wheelhouse holds.

    Args:
        folder: where it is.
        bytes_: its size.
        packed: name, version and source of each file.
    """
    lines = [f"{plain(folder)}: {count(len(packed), 'package')}, {size(bytes_)}"]
    told = {
        "built": "was built from its source here",
        "commit": "was built from its commit here",
        "kernel": "was added, for the kernel to start",
        "sdist": "is kept as source: it did not build here",
    }
    lines += [f"  {plain(name)} {plain(version)} {told[how]}" for name, version, how in packed if how in told]
    folder = plain(folder)
    return "\n".join([*lines, f"`reprokit replay RUN --offline --wheelhouse {folder}` uses it;",
                      f"so does `pip install --require-hashes --no-deps -r {folder}/requirements.txt`"])  # fmt: skip
