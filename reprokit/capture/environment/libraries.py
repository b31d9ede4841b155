"""The libraries probe: what numbers hang on beside Python's packages, as it is loaded into this process.

CUDA and its driver, libc and libm, and what the system (not a package) brought: known from the process's memory
map, without loading or calling anything. BLAS and OpenMP are ``threads``'s. The system's own packages are
counted, with a digest of their list. All of it in the background.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from reprokit import digest
from reprokit.capture.code.imports import environment_folders
from reprokit.capture.environment import machine
from reprokit.capture.probe import Context, Patch
from reprokit.records import Library

__all__ = ["Libraries", "distribution", "loaded", "system_packages"]

_MAPS = Path("/proc/self/maps")
_DRIVER = Path("/proc/driver/nvidia/version")
_CUDA = re.compile(
    r"lib(cudart|cuda|cudnn\w*|cublas\w*|cufft\w*|curand|cusolver\w*|cusparse\w*|nccl|nvrtc|nvJitLink|nvinfer"
    r"|amdhip64|rocblas|rccl|MIOpen)[.-]"
)
_LIBC = re.compile(r"(libc|libm|libmvec|libstdc\+\+|libgcc_s)[.-]|(ld-musl|libc\.musl)-")
_THREADS = re.compile(r"lib(openblas|blas|cblas|lapack|mkl|blis|flexiblas|gomp|omp|iomp)")  # see ``threads``
# Of the system, and no number hangs on them.
_PLAIN = re.compile(
    r"(ld-linux|lib(dl|pthread|rt|util|resolv|nss|nsl|crypt|ssl|crypto|z|bz2|lzma|zstd|lz4|ffi|expat|uuid|readline|ncurses"
    r"|tinfo|history|edit|sqlite3|gdbm|db|tcl|tk|X|xcb|selinux|pcre|sodium|zmq|bsd|md|systemd|cap|gcrypt|gpg|krb|gss"
    r"|keyutils|com_err|k5crypto|idn|unistring|nettle|hogweed|gmp|p11|tasn|gnutls|python))"
)
_VERSION = re.compile(r"\.so\.([\d.]+)$|-([\d.]+)\.so$")


class Libraries:
    """Notes libraries as they are loaded.

    Args:
        context: what a probe may use.
    """

    aspect = "environment"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._count = 0
        self._told: set[str] = set()

    def start(self) -> Patch | None:
        """Have the machine's own packages noted."""
        self._context.later(self._note_machine)
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Nothing is loaded before a cell."""
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Look in the background when modules were imported (0.1 µs when none were)."""
        count = len(sys.modules)
        if count != self._count:
            self._count = count
            self._context.later(self._look)
        return None

    def stop(self) -> Patch | None:
        """Say what was loaded without an import."""
        return self._new()

    def _look(self) -> None:
        self._context.emit(None, self._new())

    def _new(self) -> Patch:
        new = [library for library in loaded() if library.path not in self._told]
        self._told.update(library.path for library in new)
        return Patch(add={"libraries": [library.to_dict() for library in new]} if new else {})

    def _note_machine(self) -> None:
        observed = machine.observe().to_dict()
        told = {"distribution": distribution(), "system_packages": system_packages()}
        self._context.emit(None, Patch(set={"machine": {**observed, **told}}))


def loaded(maps: Path = _MAPS, driver: Path = _DRIVER) -> tuple[Library, ...]:
    """Return the libraries in this process that numbers hang on, by path; none where there is no such map.

    Args:
        maps: the process's memory map.
        driver: what NVIDIA's driver says of itself.
    """
    try:
        text = maps.read_bytes()
    except OSError:
        return ()
    installed = environment_folders()
    lines = (line for line in text.split(b"\n") if b".so" in line)
    paths = {os.fsdecode(line[line.index(b"/") :]) for line in lines if b"/" in line}
    found = [library for path in sorted(paths) if (library := _library(path, installed)) is not None]
    if any(library.kind == "cuda" for library in found) and (version := _driver_version(driver)):
        found.append(Library(name="nvidia-driver", kind="cuda", path=str(driver), version=version))
    return tuple(found)


def distribution(file: Path = Path("/etc/os-release")) -> str:
    """Return the name and version of the system's distribution, such as "Debian GNU/Linux 12 (bookworm)"."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("PRETTY_NAME", values.get("NAME", "")).strip("\"'")


def system_packages(root: Path = Path("/")) -> dict[str, str]:
    """Return manager → how many packages it installed, and a digest of their list.

    Of rpm's database only the digest of its size and time: it takes rpm to read it.
    """
    found = {}
    if (status := _bytes(root / "var/lib/dpkg/status")) is not None:
        packages = [block for block in status.split(b"\n\n") if b"\nStatus: install ok installed\n" in block]
        found["dpkg"] = _list(packages, (b"Package:", b"Version:", b"Architecture:"))
    if (status := _bytes(root / "lib/apk/db/installed")) is not None:
        found["apk"] = _list([block for block in status.split(b"\n\n") if block.strip()], (b"P:", b"V:", b"A:"))
    for name in ("rpmdb.sqlite", "Packages", "Packages.db"):
        for folder in ("var/lib/rpm", "usr/lib/sysimage/rpm"):
            path = root / folder / name
            if path.exists():
                status_of = path.stat()
                found["rpm"] = digest.of_json([name, status_of.st_size, status_of.st_mtime_ns])
    return found


def _list(packages: list[bytes], fields: tuple[bytes, ...]) -> str:
    """Return how many packages there are, and a digest of what names them."""
    names = (b" ".join(line for line in block.splitlines() if line.startswith(fields)) for block in packages)
    return f"{len(packages)} {digest.of_bytes(b''.join(b'%s;' % name for name in sorted(names)))}"


def _library(path: str, installed: tuple[str, ...]) -> Library | None:
    name = os.path.basename(path)
    if _THREADS.match(name):
        return None
    if _CUDA.match(name):
        kind = "cuda"
    elif _LIBC.match(name):
        kind = "libc"
    elif path.startswith(installed) and not path.startswith(_SYSTEM):
        return None  # a package's own: the environment says which
    elif _PLAIN.match(name) or "/lib-dynload/" in path:
        return None
    else:
        kind = "other"
    return Library(name=name.partition(".so")[0], kind=kind, path=path, version=_version(path, name))


_SYSTEM = ("/usr/lib/", "/usr/lib64/", "/usr/local/lib/lib", "/lib/", "/lib64/")


def _version(path: str, name: str) -> str | None:
    """Return what a library's file name says, or that of the file it leads to; of glibc, what it says itself."""
    if name.startswith(("libc.so", "libm.so", "libmvec.so")):
        try:
            return os.confstr("CS_GNU_LIBC_VERSION")
        except (ValueError, OSError):
            return None
    match = _VERSION.search(os.path.realpath(path)) or _VERSION.search(name)
    return None if match is None else match[1] or match[2]


def _driver_version(file: Path) -> str:
    text = (_bytes(file) or b"").decode("utf-8", "replace")
    match = re.search(r"Module\s+(?:for \S+\s+)?([\d.]+)", text)
    return "" if match is None else match[1]


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
