"""Exact pins with the hashes of all that an index has for them, and where its files are.

Each pin stands alone, so that one that no index has costs the others nothing. Knows uv and pip-tools as
resolvers; it does not know what a lock is made of besides.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from reprokit.capture.environment.environment import normalised
from reprokit.errors import ReprokitError
from reprokit.records import Distribution
from reprokit.replay import lock_gaps, locked_files
from reprokit.replay.tools import find_uv, last_line, run_tool, unreachable
from reprokit.store.objects import Objects

__all__ = ["Pinned", "UnreachableError", "pin"]

_INDEX = re.compile(r"^\s*# from (\S+)\n", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

Compile = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class UnreachableError(ReprokitError):
    """The index did not answer."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an index has: the hashed requirement of each distribution by name, and the files behind them."""

    blocks: Mapping[str, str]
    files: Sequence[locked_files.Package] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.blocks

    @property
    def text(self) -> str:
        return "".join(self.blocks[name] for name in sorted(self.blocks))

    def without_wheels(self, python: str) -> frozenset[str]:
        """Return the names that were built here: the index has no wheel of them for this machine."""
        return frozenset(one["name"] for one in self.files if not locked_files.has_wheel(one, python))

    def stored(self, python: str, objects: Objects) -> str | None:
        """Keep the addresses of the files; return the digest of the object."""
        if not self.files:
            return None
        return objects.put_bytes(locked_files.written(self.files, python).encode("utf-8"))


def pin(python: str, distributions: Sequence[Distribution]) -> Pinned:
    """Return what the index has of some distributions.

    Raises:
        UnreachableError: it did not answer.
    """
    usual = [d for d in distributions if lock_gaps.is_version(d.version)]
    local = [d for d in usual if "+" in d.version]
    with tempfile.TemporaryDirectory(prefix="reprokit-lock-") as folder:
        compile_pins = _compiler(python, Path(folder))
        blocks: dict[str, str] = {}
        for group in ([d for d in usual if d not in local], local):  # those with "+" are seldom on an index
            blocks.update(_compile_each(group, compile_pins))
        indexes = {name: found[1] for name, block in blocks.items() if (found := _INDEX.search(block))}
        blocks = {name: _INDEX.sub("", block) for name, block in blocks.items()}
        pins = "".join(f"{d.name}=={d.version}\n" for d in usual if d.name in blocks)
        hashes = {name: frozenset(_HASH.findall(block)) for name, block in blocks.items()}
        return Pinned(blocks, locked_files.compiled(pins, hashes, indexes, python, Path(folder)))


def _compile_each(group: Sequence[Distribution], compile_pins: Compile) -> dict[str, str]:
    """Lock what can be locked: each pin stands alone, so a failure is narrowed down by halves."""
    if not group:
        return {}
    result = compile_pins([f"{d.name}=={d.version}" for d in group])
    if result.returncode == 0:
        return _blocks(result.stdout, {d.name: d.version for d in group})
    if unreachable(result.stderr):
        raise UnreachableError(last_line(result.stderr))
    if len(group) == 1:
        return {}
    middle = len(group) // 2
    return {**_compile_each(group[:middle], compile_pins), **_compile_each(group[middle:], compile_pins)}


def _blocks(text: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the requirement of each wanted name, with its hashes; one without a hash is left out."""
    blocks: dict[str, str] = {}
    for block in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE):
        pin, _, hashes = block.partition(" ")
        name, _, version = pin.partition("==")
        name = normalised(name)
        if "--hash=" in hashes and name in wanted and Version(version) == Version(wanted[name]):
            lines = [line for line in block.splitlines() if line.strip()]
            told = [line for line in lines if not line.lstrip().startswith("#") or _INDEX.match(f"{line}\n")]
            blocks[name] = "\n".join(told) + "\n"
    return blocks


def _compiler(python: str, folder: Path) -> Compile:
    """Return what locks pins: uv, or pip-tools where there is no uv."""
    uv = find_uv()
    source = folder / "pins.in"
    if uv is not None:
        command = [uv, "pip", "compile", "--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        command += ["--emit-index-annotation", "--quiet", "--python", sys.executable, "--python-version", python]
        command.append(str(source))
    elif importlib.util.find_spec("piptools") is not None:
        command = [
            sys.executable,
            "-m",
            "piptools",
            "compile",
            "--generate-hashes",
            "--allow-unsafe",
            "--no-header",
        ]
        command += [
            "--strip-extras",
            "--no-annotate",
            "--no-emit-index-url",
            "--no-emit-trusted-host",
            "--quiet",
        ]
        command += ["--no-emit-find-links", "--no-emit-options", "--output-file", "-", str(source)]
    else:
        raise UnreachableError("there is neither uv nor pip-tools")

    def compile_pins(pins: Sequence[str]) -> subprocess.CompletedProcess[str]:
        source.write_text("\n".join(pins) + "\n", "utf-8")
        return run_tool(command)

    return compile_pins
