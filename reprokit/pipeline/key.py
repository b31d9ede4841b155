"""What a step is, by part: code, parameters, inputs, seed, variables. Two steps with one key give one result.

Run ids, times, where the workspace lies and the commit are not in it. What a run read without having declared it is
not known before it runs: ``reuse`` looks that up in the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from reprokit import digest
from reprokit.capture import redact
from reprokit.capture.environment.machine import THREADS
from reprokit.errors import UsageError
from reprokit.pipeline.imports import local_code

__all__ = [
    "PARTS",
    "declared_inputs",
    "differences",
    "make",
    "path_digest",
    "recorded_variables",
    "search_path",
    "shown",
]

#: The parts of a key, in the order in which differences are told.
PARTS = ("code", "arguments", "params", "modules", "inputs", "seed", "kernel", "environment", "variables")


def make(
    *,
    sources: Sequence[str],
    params: Mapping[str, Any],
    arguments: Sequence[str] = (),
    folders: Sequence[Path],
    project: Path,
    inputs: Mapping[str, str],
    seed: int | None,
    kernel: str,
    environment: str,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Return the key of a step.

    Args:
        sources: its code cells in their order, as they are written, or a script's source.
        params: its parameters, as the record shows them.
        arguments: what a script is called with.
        folders: where it looks for modules, inside the project.
        project: the project root.
        inputs: path → digest of what it declares to read.
        seed: what everything is seeded with.
        kernel: the kernel's name, or "script".
        environment: what it was asked to run in: an interpreter's path, a lock, or "" for the present one.
        variables: the environment variables that are recorded, and those that were named.
    """
    cells = [digest.of_bytes(_cleaned(source).encode("utf-8", "surrogatepass")) for source in sources]
    modules = {shown(file, project): path_digest(file) or "" for file in local_code(sources, folders, project)}
    return {
        "code": cells,
        "arguments": _without_secrets(arguments),
        "params": dict(params),
        "modules": modules,
        "inputs": dict(inputs),
        "seed": seed,
        "kernel": kernel,
        "environment": environment,
        "variables": dict(variables),
    }


def declared_inputs(paths: Iterable[str], folder: Path, project: Path) -> dict[str, str]:
    """Return path → digest of declared inputs; a folder's is of the names and digests of all its files.

    Raises:
        UsageError: one is not there.
    """
    found = {}
    for name in paths:
        at = path_digest(folder / name)
        if at is None:
            raise UsageError(f"the input {name} is not there", remedy=f"it is looked for at {folder / name}")
        found[shown(folder / name, project)] = at
    return found


def path_digest(path: Path) -> str | None:
    """Return the digest of a file, or of a folder with all that is in it; None when there is none."""
    try:
        if not path.is_dir():
            return digest.of_file(path)
        files = sorted(Path(place, name) for place, _, names in os.walk(path) for name in names)
        entries = {file.relative_to(path).as_posix(): digest.of_file(file) for file in files if file.is_file()}
    except OSError:
        return None
    return digest.of_bytes(digest.canonical_json(entries))


def recorded_variables(environ: Mapping[str, str], patterns: Sequence[str], named: Iterable[str]) -> dict[str, str]:
    """Return the variables that count: those that are recorded, thread limits, and those that were named.

    Of one that holds a secret the digest stands in for the value.
    """
    named = set(named)
    found = {}
    for name, value in environ.items():
        if name in named or name in THREADS or any(fnmatchcase(name, pattern) for pattern in patterns):
            is_secret = redact.value(name, value) != value
            found[name] = digest.of_bytes(value.encode("utf-8", "surrogateescape")) if is_secret else value
    return dict(sorted(found.items()))


def search_path(cwd: Path, project: Path, places: Iterable[Path]) -> list[Path]:
    """Return the folders of the project in which modules are found, those that come first first.

    Args:
        cwd: the working directory.
        project: the project root.
        places: what else is on the interpreter's path.
    """
    found = [cwd]
    found += [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    found += [*places, project, project / "src"]
    inside = (folder for folder in found if folder.resolve().is_relative_to(project.resolve()))
    return list(dict.fromkeys(folder for folder in inside if folder.is_dir()))


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in what two keys differ, one line a difference, in the order of the parts."""
    found: list[str] = []
    for part in PARTS:
        before, after = earlier.get(part), now.get(part)
        if before != after:
            found += _told(part, before, after)
    return found


def _told(part: str, before: Any, after: Any) -> list[str]:
    if part == "code":
        return [_changed_cells(before or [], after or [])]
    if part in ("modules", "inputs"):
        return _changed_paths(before or {}, after or {}, declared=part == "inputs")
    if part in ("params", "variables"):
        return _changed_values(part, before or {}, after or {})
    return [f"{part} {_brief(before)} → {_brief(after)}"]


def _changed_cells(before: Sequence[str], after: Sequence[str]) -> str:
    if len(before) != len(after):
        return f"the notebook has {len(after)} code cells, then {len(before)}"
    changed = [str(number) for number, (old, new) in enumerate(zip(before, after, strict=True), 1) if old != new]
    return f"code cell{'' if len(changed) == 1 else 's'} {', '.join(changed)} changed"


def _changed_paths(before: Mapping[str, str], after: Mapping[str, str], *, declared: bool) -> list[str]:
    found = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            found.append(f"{path} was {'an input' if declared else 'imported'} then")
        elif path not in before:
            found.append(f"{path} is {'an input' if declared else 'imported'} now")
        elif before[path] != after[path]:
            found.append(f"{path} changed")
    return found


def _changed_values(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    what = "" if part == "params" else "variable "
    names = sorted(before.keys() | after.keys())
    unset = "not given" if part == "params" else "not set"
    return [
        f"{what}{name} {_brief(before[name]) if name in before else unset}"
        f" → {_brief(after[name]) if name in after else unset}"
        for name in names
        if (name in before, before.get(name)) != (name in after, after.get(name))
    ]


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command line as it may be recorded; the digest of all of it stands in for secrets."""
    given, kept = list(arguments), list(redact.argv(list(arguments)))
    return kept if kept == given else [*kept, digest.of_bytes(digest.canonical_json(given))]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else digest.canonical_json(value).decode("ascii")
    return text if len(text) <= 40 else f"{text[:39]}…"


def _cleaned(source: str) -> str:
    """Return a cell's source without what an editor may add: trailing blanks are never seen by Python's eye."""
    return source.rstrip().replace("\r\n", "\n")


def shown(path: Path, project: Path) -> str:
    """Return a path as records name it: relative to the project, with ``/``, where it lies in it."""
    resolved, top = path.resolve(), project.resolve()
    return resolved.relative_to(top).as_posix() if resolved.is_relative_to(top) else str(resolved)
