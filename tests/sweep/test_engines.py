"""What places points: each engine is an executor, gives a step the same surroundings, and refuses what cannot work."""

from __future__ import annotations

import multiprocessing
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from placing import Bench, until

from reprokit.capture.environment.machine import THREADS
from reprokit.errors import UsageError
from reprokit.pipeline.sweep import engines
from reprokit.pipeline.sweep.engines import Engine
from reprokit.pipeline.sweep.place import place
from reprokit.pipeline.sweep.task import variables_here

ENVIRON = """\
import json, os, sys
json.dump(dict(os.environ), open(f'out/environ-{sys.argv[1]}.json', 'w'))"""


@pytest.fixture(autouse=True)
def randomness(guards: None) -> Iterator[None]:
    """distributed draws from the generator of this process; that is no harm of ours."""
    state = random.getstate()
    yield
    random.setstate(state)


def placed(engine: Engine, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    futures = [engine.executor.submit(place, task) for task in tasks]
    return [future.result(240) for future in futures]


def environ(bench: Bench, number: Any) -> dict[str, str]:
    import json

    found: dict[str, str] = json.loads((bench.root / f"out/environ-{number}.json").read_text())
    # What differs from process to process; the last two a library sets that `reprokit run` uses.
    changing = {"PYTHONHASHSEED", "JPY_PARENT_PID", "_", "PWD", "SHLVL", "OLDPWD", "COLUMNS", "LINES"}
    return {name: value for name, value in found.items() if name not in changing and not name.startswith("SUBMITIT_")}


@pytest.mark.filterwarnings("ignore")
def test_variables_are_those_of_a_plain_run_on_every_engine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines set limits of threads, a hash seed and more in their workers: no step sees them."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("MY_OWN", "x")
    (bench.root / "environ.py").write_text(ENVIRON)
    subprocess.run(
        [sys.executable, "-m", "reprokit", "run", "environ.py", "--", "plain"],
        cwd=bench.root, check=True, capture_output=True,
    )  # fmt: skip
    plain = environ(bench, "plain")
    assert (plain["MKL_NUM_THREADS"], plain["MY_OWN"]) == ("3", "x")
    variables = variables_here(bench.store.settings.variables)
    for name in ("local", "dask"):
        task = bench.task("environ.py", variables=variables)
        with engines.open(name, workers=1, book=bench.book) as engine:
            (ended,) = placed(engine, [task])
        assert ended["exit_code"] == 0, ended
        assert environ(bench, task["point"]) == plain, name
        machine = bench.store.load(ended["run"]).machine
        assert machine is not None
        assert machine.threads == {key: plain[key] for key in THREADS if key in plain}


def test_limits_that_an_engine_sets_are_taken_back() -> None:
    told = variables_here(["LANG", "LC_*", "CUDA_VISIBLE_DEVICES"], {"LANG": "C", "CUDA_VISIBLE_DEVICES": "1"})
    assert told["LANG"] == "C"
    assert {name: told[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED")} == {
        "OMP_NUM_THREADS": None, "OPENBLAS_NUM_THREADS": None, "PYTHONHASHSEED": None,
    }  # fmt: skip
    assert "CUDA_VISIBLE_DEVICES" not in told, "which device a worker has is the engine's to say"


@pytest.mark.soak
def test_executors_of_ones_own(bench: Bench) -> None:
    with (
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
        engines.open(pool) as engine,
    ):
        assert engine.slots == 2
        assert [one["exit_code"] for one in placed(engine, [bench.task() for _ in range(3)])] == [0] * 3
    with ThreadPoolExecutor(3) as threads, engines.open(threads, workers=2) as engine:
        assert engine.slots == 2
        assert placed(engine, [bench.task()])[0]["status"] == "done"


def test_jobs_of_slurm_as_processes_of_this_machine(bench: Bench) -> None:
    """No more at a time than was said; what they leave behind goes when it is not needed."""
    pytest.importorskip("submitit")
    tasks = [bench.task(), bench.task("nowhere.py")]
    with engines.open("slurm", workers=2, book=bench.book, cluster="local", partition="any", mem_gb="1") as engine:
        ended = placed(engine, tasks)
    assert [one["exit_code"] for one in ended] == [0, 2], ended
    left = [path.name for path in (bench.book / "jobs").rglob("*") if path.suffix == ".pkl"]
    assert left == []


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_workers_that_cannot_do_it_are_told_apart_before_anything_runs(bench: Bench, tmp_path: Path) -> None:
    """By what they have of a resource, by the reprokit that they have, and by what they see."""
    pytest.importorskip("distributed")
    with cluster(tmp_path, workers=0) as made:
        at = {"scheduler": made.address}
        made.worker("--resources", "GPU=2")
        with pytest.raises(UsageError, match=r"none of the 1 workers at .* has GPU=3 \(they have: GPU=2\)"):
            engines.open("dask", resources="GPU=3", **at).__enter__()
        with engines.open("dask", resources="GPU=1", book=bench.book, **at) as engine:
            assert engine.slots == 1, "it has one thread"
            assert placed(engine, [bench.task(), bench.task()])[1]["exit_code"] == 0
        with pytest.raises(UsageError, match="does not see /nowhere: name a remote"):
            engines.open("dask", book=Path("/nowhere"), **at).__enter__()
        for first, message in (
            ("import sys\nsys.modules['reprokit'] = None", "has no reprokit"),
            ("import reprokit.version\nreprokit.version.VERSION = '0.0.1'", "has reprokit 0.0.1, and this is"),
        ):
            other = made.worker(first=first)
            until(lambda: refused(**at) is not None, "the worker")
            assert message in str(refused(**at))
            other.kill()
            other.wait()
            until(lambda: refused(**at) is None, "its end")


def refused(**options: Any) -> UsageError | None:
    try:
        with engines.open("dask", **options):
            return None
    except UsageError as error:
        return error


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


WRONG = [
    ("ray", {}, "there is no engine 'ray'"),
    ("local", {"workers": 0}, "0 workers can do nothing"),
    ("local", {"scheduler": "tcp://a:1"}, "the engine local takes no --scheduler"),
    ("dask", {"resources": "GPU=one"}, "'GPU=one' is no resource"),
    ("dask", {"resources": "GPU=1"}, "the workers on this machine have no resources"),
    ("dask", {"scheduler": f"tcp://127.0.0.1:{closed_port()}"}, "no scheduler answers at tcp://127.0.0.1"),
    ("dask", {"scheduler": "nonsense://a"}, "no scheduler answers at nonsense://a"),
    ("slurm", {}, "there is no Slurm here"),
    ("slurm", {"cluster": "local", "timeout_min": "soon"}, "Slurm does not take these options"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_what_cannot_work_is_refused_before_anything_runs(
    name: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if name in ("dask", "slurm"):
        pytest.importorskip("distributed")
        pytest.importorskip("submitit")
    with pytest.raises(UsageError, match=message), engines.open(name, **{"book": tmp_path, **options}):
        pytest.fail("it was opened")


@pytest.mark.parametrize(("name", "library"), [("dask", "distributed"), ("slurm", "submitit")])
def test_a_library_that_is_not_installed_is_told(name: str, library: str, tmp_path: Path) -> None:
    """In a process that does not find it."""
    code = (
        "import sys\n"
        f"sys.modules[{library!r}] = None\n"
        "from reprokit.pipeline.sweep import engines\n"
        "from reprokit.errors import UsageError\n"
        f"try:\n    with engines.open({name!r}, book=None): pass\n"
        "except UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"needs the library {library}" in done.stdout
    assert f"pip install 'reprokit[{name}]'" in done.stdout
