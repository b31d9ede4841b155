"""Bytes and names always belong together."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reprokit.digest import of_bytes
from reprokit.errors import ObjectCorrupt, ObjectMissing
from reprokit.store.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """An empty store of objects whose folder is not there yet."""
    return Objects(tmp_path / "store" / "objects")


def _names(objects: Objects) -> set[str]:
    return {path.parent.name + path.name for path in objects.root.glob("??/*")}


def _leftovers(objects: Objects) -> list[Path]:
    return [path for path in objects.root.iterdir() if path.is_file()]


@pytest.mark.parametrize("durable", [True, False])
def test_bytes_come_back(objects: Objects, durable: bool) -> None:
    for data in (b"", b"hello", os.urandom(3_000_000)):
        digest = objects.put_bytes(data, durable=durable)
        assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
        assert objects.has(digest)
        assert objects.get_bytes(digest) == data
        assert stat.S_IMODE(objects.path(digest).stat().st_mode) == 0o444
        assert objects.put_bytes(data, durable=True) == digest
    objects.sync()
    assert _leftovers(objects) == []


def test_an_object_that_is_not_there_is_told(objects: Objects, tmp_path: Path) -> None:
    digest = of_bytes(b"never")
    assert not objects.has(digest)
    with pytest.raises(ObjectMissing):
        objects.get_bytes(digest)
    with pytest.raises(ObjectMissing):
        objects.restore(digest, tmp_path / "out")
    with pytest.raises(ValueError, match="not a SHA-256"):
        objects.path("../../etc/passwd")


def test_a_file_comes_back_as_a_file_of_its_own(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(os.urandom(2_500_000))
    stored = objects.put_file(source)
    assert (stored.kept, stored.state, stored.size, stored.git_blob) == (True, "stable", 2_500_000, None)
    target = tmp_path / "deep" / "er" / "data.bin"
    objects.restore(stored.digest, target)
    assert target.read_bytes() == source.read_bytes()
    target.write_bytes(b"mine now")
    assert objects.get_bytes(stored.digest) == source.read_bytes()
    assert os.listdir(target.parent) == ["data.bin"]


def test_a_file_is_named_as_git_names_it(objects: Objects, project: Path) -> None:
    source = project / "analysis.py"
    told = subprocess.run(["git", "hash-object", source], cwd=project, capture_output=True, text=True, check=True)
    assert objects.put_file(source, git=True).git_blob == told.stdout.strip()


def test_above_the_limit_there_is_a_digest_and_no_object(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"x" * 1001)
    stored = objects.put_file(source, limit=1000)
    assert (stored.digest, stored.kept, stored.size) == (of_bytes(b"x" * 1001), False, 1001)
    assert not objects.has(stored.digest)
    assert objects.put_file(source, limit=1001).kept


def test_what_is_not_a_regular_file_is_refused_without_waiting(objects: Objects, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "folder", "socket", "absent", "/dev/zero"):
            with pytest.raises(OSError):
                objects.put_file(tmp_path / name)
    assert not objects.root.exists()


def test_damage_is_seen_when_it_is_read_and_the_target_is_left_alone(objects: Objects, tmp_path: Path) -> None:
    digest = objects.put_bytes(b"right")
    os.chmod(objects.path(digest), 0o644)
    objects.path(digest).write_bytes(b"wrong")
    target = tmp_path / "target"
    target.write_bytes(b"before")
    with pytest.raises(ObjectCorrupt):
        objects.get_bytes(digest)
    with pytest.raises(ObjectCorrupt):
        objects.restore(digest, target)
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["store", "target"]


def test_an_object_cut_short_by_a_power_cut_is_written_anew(objects: Objects) -> None:
    digest = objects.put_bytes(b"the whole of it")
    os.chmod(objects.path(digest), 0o644)
    objects.path(digest).write_bytes(b"")
    assert objects.put_bytes(b"the whole of it") == digest
    assert objects.get_bytes(digest) == b"the whole of it"


def test_a_file_that_changes_while_it_is_read_never_gets_a_wrong_name(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "busy"
    source.write_bytes(bytes(8_000_000))
    stop = threading.Event()

    def scribble() -> None:
        with source.open("r+b", buffering=0) as stream:
            while not stop.is_set():
                for position in range(0, 8_000_000, 400_000):
                    stream.seek(position)
                    stream.write(os.urandom(1000))

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        taken = [objects.put_file(source, durable=False) for _ in range(20)]
        while "unstable" not in {stored.state for stored in taken} and len(taken) < 200:
            taken.append(objects.put_file(source, durable=False))
    finally:
        stop.set()
        writer.join()
    assert "unstable" in {stored.state for stored in taken}
    for name in _names(objects):
        objects.get_bytes(f"sha256:{name}")  # raises when the bytes do not match
    assert {stored.digest[7:] for stored in taken} == _names(objects)
    assert objects.put_file(source).state == "stable"


def test_a_file_that_grows_is_taken_and_called_unstable(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_bytes(b"line\n")
    stop = threading.Event()

    def grow() -> None:
        with source.open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(b"line\n" * 20_000)
                if stream.tell() > 50_000_000:  # enough to be read for a while; the disk is not ours to fill
                    stream.truncate(5)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        seen = any(objects.put_file(source, limit=0).state == "unstable" for _ in range(2000))
    finally:
        stop.set()
        writer.join()
    assert seen


def test_threads_may_put_the_same_and_sync_at_once(objects: Objects) -> None:
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for number in range(50):
            objects.put_bytes(b"%d" % number, durable=False)
        objects.sync()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_names(objects)) == 50
    assert _leftovers(objects) == []


def test_a_forked_child_may_sync(objects: Objects) -> None:
    objects.put_bytes(b"of the parent", durable=False)
    child = os.fork()
    if child == 0:
        objects.put_bytes(b"of the child", durable=False)
        objects.sync()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    objects.sync()
    assert objects.has(of_bytes(b"of the child"))


LOCK = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_a_lock_that_the_process_holds_on_a_file_outlives_the_keeping_of_it(tmp_path: Path) -> None:
    def is_locked() -> bool:
        return subprocess.run([sys.executable, "-c", LOCK, path], capture_output=True, check=False).returncode != 0

    objects, path = Objects(tmp_path / "objects"), tmp_path / "data.db"
    path.write_bytes(b"x" * 100)
    other = tmp_path / "other.db"
    other.write_bytes(b"y")
    before = len(os.listdir("/proc/self/fd"))
    with open(path, "r+b") as theirs:
        fcntl.lockf(theirs, fcntl.LOCK_EX)
        for _ in range(3):  # the descriptor that must stay open is used again
            assert objects.put_file(path).state == "stable"
        objects.put_file(other)
        assert is_locked()
    objects.put_file(other)  # with the lock gone, it is closed at the next occasion
    assert not is_locked()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_transaction_of_sqlite_outlives_the_keeping_of_its_file(tmp_path: Path) -> None:
    objects, path = Objects(tmp_path / "objects"), tmp_path / "data.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as mine:
        mine.execute("create table t (x)")
        mine.execute("begin immediate")
        mine.execute("insert into t values (1)")
        objects.put_file(path)
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('insert into t values (2)')"
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr
        mine.execute("commit")
    objects.put_file(path)
