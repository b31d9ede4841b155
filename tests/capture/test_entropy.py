"""Derived entropy: repeatable from its root, different in every child, and gone when it is switched off."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprokit.capture.entropy import AfterImport, Entropy

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


def test_documentation_and_signature_stay(entropy: Entropy) -> None:
    seed = random.Random.seed
    entropy.deactivate()
    assert seed.__doc__ == random.Random.seed.__doc__
    assert seed.__code__.co_varnames[:3] == ("self", "a", "version")


def test_two_at_once_are_put_back_in_any_order() -> None:
    originals = random.seed, random.Random.seed
    for order in ((0, 1), (1, 0)):
        pair = Entropy(), Entropy()
        for one in pair:
            one.activate()
        for index in order:
            pair[index].deactivate()
        if order == (1, 0):
            assert (random.seed, random.Random.seed) == originals
        random.seed, random.Random.seed = originals  # type: ignore[method-assign]


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


CHILDREN = """
import os, random
from reprokit.capture.entropy import Entropy
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
