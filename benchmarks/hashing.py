"""Hashing against ``sha256sum``, keeping against ``dvc add``: one large file, many, and files that have not changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from measure import BIN, Options, Row, at_most, interleaved, median, paired_ratio, run, told, workspace

from reprokit.capture.files.contents import Contents
from reprokit.capture.files.scan import key_of
from reprokit.store.objects import Objects


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        yield from _large(folder, 10**8 if options.quick else 10**9, options.repeats)
        yield from _many(folder / "many", 100 if options.quick else 500, options.repeats)
        yield from _unchanged(folder / "small", 1000 if options.quick else 10_000, options.repeats)


def _speed(what: str, ours: list[float], theirs: list[float], peers: str) -> Row:
    percent = 100 * paired_ratio(theirs, ours)
    return Row(what=what, measured=f"{percent:.0f} %", bar="≥ 90 %", met=percent >= 90, peers=peers)


def _large(folder: Path, size: int, repeats: int) -> Iterator[Row]:
    """One core: hash only, and with git's name in the same pass; the file is in the page cache."""
    path, objects = folder / "large.bin", Objects(folder / "objects")
    block = os.urandom(10**6)
    with path.open("wb") as stream:
        for _ in range(size // len(block)):
            stream.write(block)
    actions: dict[str, Callable[[], object]] = {
        "sha256sum": lambda: subprocess.run(["sha256sum", path], check=True, capture_output=True),
        "put_file": lambda: objects.put_file(path, limit=-1),
        "with git's name": lambda: objects.put_file(path, limit=-1, git=True),
    }
    openssl = ["openssl", "dgst", "-sha256", path]
    if shutil.which("openssl"):  # where sha256sum knows nothing of the processor's own instructions
        actions["openssl"] = lambda: subprocess.run(openssl, check=True, capture_output=True)
    times = interleaved(actions, repeats)
    what = f"hash a file of {size / 1e9:g} GB, against sha256sum"
    yield _speed(what, times["put_file"], times["sha256sum"], told(times))
    yield from _kept(f"a file of {size / 1e9:g} GB", path, [path], repeats)
    path.unlink()


def _many(folder: Path, count: int, repeats: int) -> Iterator[Row]:
    """All cores: files of 1 MB, as a cell that reads them all leaves them to be hashed."""
    folder.mkdir()
    paths = [str(folder / f"{number:04}.bin") for number in range(count)]
    for path in paths:
        Path(path).write_bytes(os.urandom(10**6))
    names = "\0".join(paths).encode()
    command = ["xargs", "-0", "-n", "20", "-P", str(os.cpu_count() or 1), "sha256sum"]

    def hash_all() -> None:
        contents = _contents(folder.parent / "objects", limit=-1)
        for path in paths:
            contents.of(path)

    theirs = f"sha256sum, {os.cpu_count()} cores"
    times = interleaved(
        {
            theirs: lambda: subprocess.run(command, input=names, check=True, capture_output=True),
            "Contents": hash_all,
        },
        repeats,
    )
    yield _speed(f"hash {count} files of 1 MB, all cores", times["Contents"], times[theirs], told(times))
    yield from _kept(f"{count} files of 1 MB", folder, [Path(path) for path in paths], repeats)


def _kept(what: str, place: Path, paths: Sequence[Path], repeats: int) -> Iterator[Row]:
    """Hash and keep what was never seen before, until it is on the disk, as a cell that reads it has it done.

    ``dvc add`` is a process of its own, which takes a second to start: how long is told too. It leaves it to the
    system when its copies come to the disk.
    """
    dvc = BIN / "dvc"
    if not dvc.exists():
        return
    root = place.parent / "kept"
    settings = {f"DVC_{name}_DIR": str(root / "dvc") for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")}

    def ask(*words: str | Path) -> None:
        run([dvc, *words], place.parent, DVC_NO_ANALYTICS="1", **settings)

    def forget() -> None:
        for folder in (root / "objects", place.parent / ".dvc" / "cache", place.parent / ".dvc" / "tmp"):
            shutil.rmtree(folder, ignore_errors=True)
        place.with_name(f"{place.name}.dvc").unlink(missing_ok=True)

    def keep() -> None:
        objects = Objects(root / "objects")
        for path in paths:
            objects.put_file(path, durable=False)
        objects.sync()

    if not (place.parent / ".dvc").exists():
        ask("init", "--no-scm", "--quiet")
        ask("config", "core.check_update", "false")
    actions: dict[str, Callable[[], object]] = {
        "dvc add": lambda: ask("add", "--quiet", place),
        "put_file": keep,
        "dvc --version": lambda: ask("--version"),
    }
    times = interleaved(actions, repeats, before=forget)
    forget()
    ratio = paired_ratio(times["put_file"], times["dvc add"])
    yield Row(what=f"hash and keep {what}, beside dvc add", measured=f"{ratio:.2f} ×", peers=told(times))


def _unchanged(folder: Path, count: int, repeats: int) -> Iterator[Row]:
    """Files that were hashed before and have not changed since."""
    folder.mkdir()
    paths = [str(folder / f"{number:05}.csv") for number in range(count)]
    for path in paths:
        Path(path).write_text(f"{path}\n" * 5)
    time.sleep(0.1)  # older than the clock's tick, so that their digests are believed
    contents = _contents(folder.parent / "objects", limit=-1)
    for path in paths:
        contents.of(path)
    times = interleaved(
        {
            "os.stat alone": lambda: [os.stat(path) for path in paths],
            "Contents": lambda: [contents.of(path, key_of(os.stat(path))) for path in paths],
        },
        max(repeats, 10),
    )
    taken = 1000 * median(times["Contents"])
    yield at_most(f"check {count:,} unchanged files", taken, 150, "ms", told(times, "ms"))


def _contents(objects: Path, limit: int) -> Contents:
    return Contents(Objects(objects), limit, lambda path: None, _Untracked())


class _Untracked:
    """Files that neither git nor DVC keeps."""

    def blob(self, path: str) -> None:
        return None

    def md5(self, path: str, size: int) -> None:
        return None
