"""Lines are whole or not there."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path

import pytest

from reprokit.store.journal import Journal, read, scan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of five lines."""
    found = tmp_path / "journal.jsonl"
    journal = Journal(found)
    for number in range(5):
        journal.append({"cell": number, "set": {"source": f"x = {number} # é\udc80"}})
    journal.close()
    return found


def test_what_is_appended_is_read_in_order(path: Path) -> None:
    patches = read(path)
    assert [patch["cell"] for patch in patches] == [0, 1, 2, 3, 4]
    assert patches[3]["set"] == {"source": "x = 3 # é\udc80"}
    assert all(isinstance(patch["t"], float) for patch in patches)


def test_no_file_has_no_patches(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere") == []


def test_a_second_writer_is_refused(path: Path) -> None:
    with pytest.raises(FileExistsError):
        Journal(path)


def test_a_tail_torn_at_any_byte_loses_no_earlier_line(path: Path) -> None:
    content = path.read_bytes()
    whole = read(path)
    start = content.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        assert scan(path) == (whole[:4], None)


def test_a_flipped_bit_anywhere_is_seen(path: Path) -> None:
    content = path.read_bytes()
    whole = read(path)
    start, end = content.index(b"\n") + 1, content.index(b"\n", content.index(b"\n") + 1)
    for position in range(start, end):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            assert scan(path) == (whole[:1], 2), (position, bit)


def test_zeros_that_a_power_cut_leaves_are_a_torn_tail(path: Path) -> None:
    whole = read(path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert scan(path) == (whole, None)


def test_a_forked_child_does_not_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"set": {"name": "parent"}})
    child = os.fork()
    if child == 0:
        journal.append({"set": {"name": "child"}})
        journal.sync()
        journal.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    journal.append({"set": {"name": "parent again"}})
    journal.close()
    assert [patch["set"]["name"] for patch in read(journal.path)] == ["parent", "parent again"]


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def work(number: int) -> None:
        for step in range(50):
            journal.append({"cell": number, "set": {"source": "x" * step * 100}})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.sync()
    journal.close()
    patches, damage = scan(journal.path)
    assert (len(patches), damage) == (400, None)


def test_a_line_that_does_not_fit_leaves_nothing_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"set": {"name": "first"}})
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # the write below is cut short, then refused
        with pytest.raises(OSError, match="too large"):
            journal.append({"set": {"name": "x" * 1000}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    journal.append({"set": {"name": "second"}})
    journal.close()
    patches, damage = scan(journal.path)
    assert [patch["set"]["name"] for patch in patches] == ["first", "second"]
    assert damage is None


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append({})


def test_what_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(TypeError):
        journal.append({"set": {"name": object()}})
    journal.close()
    assert journal.path.stat().st_size == 0


def test_a_file_descriptor_that_somebody_closed_is_never_written_to(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"set": {"name": "before"}})
    os.close(journal._file.fd)
    with open(tmp_path / "theirs", "wb") as theirs:
        assert theirs.fileno() == journal._file.fd  # the number was given out again
        journal.append({"set": {"name": "after"}})
        journal.sync()
    journal.append({"set": {"name": "last"}})
    os.close(journal._file.fd)
    with open(tmp_path / "theirs", "ab") as theirs:
        journal.close()
        theirs.write(b"x")
    assert (tmp_path / "theirs").read_bytes() == b"x"
    assert [patch["set"]["name"] for patch in read(tmp_path / "journal.jsonl")] == ["before", "after", "last"]
