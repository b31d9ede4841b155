"""Derived entropy: repeatable from its root, different in every child, and gone when it is switched off."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reprokit.capture.randomness.entropy import AfterImport, Entropy

ROOT = "00" * 16


@pytest.fixture
def entropy() -> Iterator[Entropy]:
    state = random.getstate()
    given = Entropy()
    given.activate()
    yield given
    given.deactivate()
    random.setstate(state)


def test_the_same_root_gives_the_same_bytes_whatever_was_drawn_before(entropy: Entropy) -> None:
    entropy.restart(ROOT)
    first = [entropy.draw(16), entropy.draw(5), entropy.draw(100)]
    entropy.draw(16)
    entropy.restart(ROOT)
    assert [entropy.draw(16), entropy.draw(5), entropy.draw(100)] == first
    assert [len(data) for data in first] == [16, 5, 100]
    assert entropy.root == ROOT


def test_another_root_gives_others(entropy: Entropy) -> None:
    entropy.restart(ROOT)
    first = entropy.draw(16)
    entropy.restart("01" * 16)
    assert entropy.draw(16) != first


def test_a_seed_that_is_given_is_left_alone(entropy: Entropy) -> None:
    bare = subprocess.run(
        [sys.executable, "-c", "import random; print([random.Random(s).random() for s in (1, 'a', 2.5, b'x')])"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert str([random.Random(seed).random() for seed in (1, "a", 2.5, b"x")]) == bare.stdout.strip()


def test_unseeded_generators_follow_the_root(entropy: Entropy) -> None:
    drawn = []
    for _ in range(2):
        entropy.restart(ROOT)
        random.seed()
        drawn.append((random.random(), random.Random().random(), random.Random(None).random()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_numbers_of_bits_are_exact(entropy: Entropy) -> None:
    for bits in (1, 7, 8, 9, 31, 32, 128):
        numbers = [entropy._randbits(bits) for _ in range(300)]
        assert max(numbers) < 2**bits
        assert max(numbers) >= 2 ** (bits - 1)  # the highest bit is used


def test_two_at_once_are_put_back_in_any_order() -> None:
    original = random.Random.seed.__code__
    for order in ((0, 1), (1, 0)):
        pair = Entropy(), Entropy()
        for one in pair:
            one.activate()
        for index in order:
            pair[index].deactivate()
        if order == (1, 0):
            assert random.Random.seed.__code__ is original
        random.Random.seed.__code__ = original  # type: ignore[attr-defined]


def test_after_import_calls_back_when_the_module_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module_a.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []
    after = AfterImport(["late_module_a"], lambda name: seen.append((name, sys.modules[name].value)))
    after.install()
    try:
        module = importlib.import_module("late_module_a")
        assert "exec_module" not in vars(module.__spec__.loader)  # type: ignore[union-attr]
        importlib.import_module("json")
        importlib.reload(module)
    finally:
        after.remove()
        sys.modules.pop("late_module_a", None)
    assert seen == [("late_module_a", 1)] * 2
    assert after not in sys.meta_path


def test_after_import_leaves_failures_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module_b.py").write_text("raise ValueError('of its own')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[str] = []
    after = AfterImport(["late_module_b", "no_such_module_anywhere"], seen.append)
    after.install()
    try:
        with pytest.raises(ValueError, match="of its own"):
            importlib.import_module("late_module_b")
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            importlib.import_module("no_such_module_anywhere")
        assert importlib.util.find_spec("no_such_module_anywhere") is None
    finally:
        after.remove()
    assert seen == []


def test_two_watches_of_the_same_module_are_both_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module_c.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[str] = []
    watches = [AfterImport(["late_module_c"], lambda _, at=at: seen.append(at)) for at in "ab"]
    for watch in watches:
        watch.install()
    try:
        module = importlib.import_module("late_module_c")
        assert module.value == 1
        assert "exec_module" not in vars(module.__spec__.loader)  # type: ignore[union-attr]
        assert importlib.util.find_spec("late_module_c") is not None
    finally:
        for watch in watches:
            watch.remove()
        sys.modules.pop("late_module_c", None)
    assert sorted(seen) == ["a", "b"]


def in_threads(count: int, work: Callable[[list[object]], object]) -> list[object]:
    """Run threads at the same time; return what each left, in the order in which they were started."""
    results: list[list[object]] = [[] for _ in range(count)]
    barrier = threading.Barrier(count)

    def run(into: list[object]) -> None:
        barrier.wait(60)
        for _ in range(3):
            into.append(work(into))

    threads = [threading.Thread(target=run, args=(into,)) for into in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [tuple(result) for result in results]


def test_threads_draw_from_branches_of_their_own(entropy: Entropy) -> None:
    """In the order in which they were started, whichever draws first; and never twice the same."""
    drawn = []
    for _ in range(3):
        entropy.restart(ROOT, "cell 1/")
        drawn.append([entropy.draw(8), *in_threads(6, lambda _: entropy.draw(8)), entropy.draw(8)])
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0])) == 8
    entropy.restart(ROOT, "cell 2/")
    assert not set(in_threads(6, lambda _: entropy.draw(8))) & set(drawn[0])


def test_a_thread_that_outlives_its_cell_follows_the_new_root(entropy: Entropy) -> None:
    go, drawn = threading.Barrier(2), []

    def work() -> None:
        for _ in range(2):
            go.wait(60)
            drawn.append(entropy.draw(8))
            go.wait(60)

    for _ in range(2):
        entropy.restart(ROOT, "cell 1/")
        thread = threading.Thread(target=work)
        thread.start()
        for root in (ROOT, "01" * 16):
            entropy.restart(root, "cell 2/")
            go.wait(60)
            go.wait(60)
        thread.join()
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_pools_in_which_the_user_draws_are_noticed(entropy: Entropy) -> None:
    meet = threading.Barrier(2)

    def task(_: int) -> random.Random:
        meet.wait(60)
        return random.Random()

    entropy.restart(ROOT)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(task, range(2)))
    assert len(entropy.shared) == 2
    entropy.restart(ROOT)
    in_threads(2, lambda _: random.Random())
    assert entropy.shared == set()


def test_children_of_several_threads_never_draw_the_same(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING_THREADS], check=True, timeout=60)


FORKING_THREADS = """
import os, threading
from reprokit.capture.randomness.entropy import Entropy
entropy = Entropy()
entropy.activate()
read, write = os.pipe()
barrier = threading.Barrier(4)
def fork():
    barrier.wait(60)
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os.write(write, entropy.draw(8))
            os._exit(0)
        os.waitpid(pid, 0)
threads = [threading.Thread(target=fork) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
drawn = os.read(read, 8 * 20)
assert len({drawn[at:at + 8] for at in range(0, 160, 8)}) == 20
"""

CHILDREN = """
import os, random
from reprokit.capture.randomness.entropy import Entropy
entropy = Entropy()
entropy.activate()
def children():
    entropy.restart("00" * 16)
    drawn = [entropy.draw(8)]
    for _ in range(3):
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, repr((random.random(), entropy.draw(8), random.Random().random())).encode())
            os._exit(0)
        os.wait()
        drawn.append(os.read(read, 1000))
    return drawn
first, second = children(), children()
assert first == second
assert len(set(first)) == 4
entropy.deactivate()
assert len(set(children()) | set(first)) > 5   # off: as unpredictable as ever
"""


def test_forked_children(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CHILDREN], check=True, timeout=60, env=dict(os.environ))
