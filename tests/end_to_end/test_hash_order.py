"""Sets of strings keep the order they had, although nobody chose the session's key."""

from __future__ import annotations

import subprocess
import sys

import pytest
from workbench import Bench

from reprokit.capture.environment import hash_secret
from reprokit.capture.files import recorder
from reprokit.store.store import Store

pytestmark = pytest.mark.skipif(not recorder.is_available(), reason="the recorder is not built here")

WORDS = "words = {chr(97 + i) * (i + 1) for i in range(20)}\nprint(list(words))"


def test_an_ordinary_session_is_repeated_in_its_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    bench.run_cells(["%load_ext reprokit\n%repro start", WORDS, "%repro stop"])
    run = bench.latest()
    assert run.machine is not None
    assert run.machine.hash_seed == "random"
    assert run.machine.hash_secret is not None
    assert len(bytes.fromhex(run.machine.hash_secret)) == hash_secret.SIZE
    verdict = bench.verdict("latest", "--env", "current")
    assert verdict["verdict"] == "identical"
    repeated = Store.open(bench.project).load(verdict["replay"])
    assert repeated.machine is not None
    assert repeated.machine.hash_secret == run.machine.hash_secret
    assert [gap for gap in (*run.gaps, *repeated.gaps) if gap.aspect == "hash-order"] == []


def test_a_script_is_repeated_in_its_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    source = (
        "import reprokit\nwith reprokit.run():\n    open('out.txt', 'w').write(str({'a', 'b', 'c', 'd', 'e', 'f'}))\n"
    )
    (bench.project / "order.py").write_text(source)
    bench.commit()
    subprocess.run([sys.executable, "order.py"], cwd=bench.project, env=bench.environ, check=True)
    machine = bench.latest().machine
    assert machine is not None
    assert machine.hash_secret is not None
    assert bench.verdict("latest", "--env", "current")["verdict"] == "identical"
