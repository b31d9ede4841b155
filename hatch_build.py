"""Builds the native recorder into the wheel where that can be done; elsewhere the wheel is without it.

On Linux with a C compiler ($CC, cc or gcc) the wheel gets ``reprokit/native/recorder.so``, with ``conditions.so`` (the
same, and what a replay may be run under: another clock, no network), and the platform tag that is true of both.
Nothing here can make an installation fail: without the recorder, capture is one tier less complete, and says so.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("reprokit", "native")
LIBRARIES = {NATIVE / "recorder.so": (), NATIVE / "conditions.so": ("-DCONDITIONS",)}
FLAGS = (
    "-std=gnu11", "-O2", "-shared", "-fPIC", "-fexceptions", "-fvisibility=hidden",
    "-Wl,-Bsymbolic,-z,now,-z,relro,--build-id=none",
)  # fmt: skip
MACHINES = {62: "x86_64", 183: "aarch64"}  # by their number in a library
OLDEST = 17  # glibc 2.17, the oldest that a manylinux tag names


class RecorderHook(BuildHookInterface[Any]):
    """Compiles the recorder before a wheel, editable or not, is put together."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel then is."""
        root = Path(self.root)
        reason = build(root)
        if reason is not None:
            self.app.display_info(f"reprokit is built without its native recorder: {reason}")
            return
        build_data["artifacts"] += [library.as_posix() for library in LIBRARIES]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(*((root / library).read_bytes() for library in LIBRARIES))}"


def build(root: Path) -> str | None:
    """Compile the recorder below ``root``, as all it is or not at all; return why it could not be done, or None."""
    reason = compile_all(root)
    if reason is not None:
        for library in LIBRARIES:  # there may be one of another version
            (root / library).unlink(missing_ok=True)
    return reason


def compile_all(root: Path) -> str | None:
    """Compile each library and put it in place of the one that is there; return why it could not be done, or None."""
    if not sys.platform.startswith("linux"):
        return "it exists for Linux only"
    command = compiler()
    if command is None:
        return "there is no C compiler"
    reasons = (compiled(root, root / library, [*command, *FLAGS, *flags]) for library, flags in LIBRARIES.items())
    return next((reason for reason in reasons if reason is not None), None)


def compiled(root: Path, library: Path, command: list[str]) -> str | None:
    """Compile one library; return why it could not be done, or None."""
    made = library.with_suffix(f".{os.getpid()}.tmp")
    try:
        whole = [*command, "-o", made.name, "recorder.c"]
        done = subprocess.run(whole, cwd=root / NATIVE, capture_output=True, text=True, check=False)
        if done.returncode != 0 or machine_of(made.read_bytes()) is None:
            return (done.stderr.strip().splitlines() or ["the compiler failed"])[0]
        made.replace(library)  # never half: a running process may have the old one mapped
        return None
    except OSError as error:
        return str(error)
    finally:
        made.unlink(missing_ok=True)


def compiler() -> list[str] | None:
    """Return the C compiler's command."""
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen and shutil.which(chosen[0]):
        return chosen
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def machine_of(library: bytes) -> str | None:
    """Return the architecture that an ELF file is for."""
    if library[:4] != b"\x7fELF":
        return None
    return MACHINES.get(struct.unpack_from("<H", library, 18)[0])


def platform_tag(*libraries: bytes) -> str:
    """Return the tag of the systems that can load the libraries: those with a C library new enough for them."""
    versions = [int(minor) for library in libraries for minor in re.findall(rb"GLIBC_2\.(\d+)", library)]
    newest = max([OLDEST, *versions])
    machine = machine_of(libraries[0])
    return f"manylinux_2_{newest}_{machine}"
