"""The native recorder, in real processes: what it sees, what it keeps, and that nobody notices it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from carrying import MODES, compiled, made_folder, run_recorded

from reprokit.capture.files import recorder

pytestmark = pytest.mark.skipif(not recorder.is_available(), reason="the recorder is not built here")


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("calls"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_folder(tmp_path)


def test_every_call_that_opens(folder: Path, calls: Path) -> None:
    answer = run_recorded(
        folder, "preload", f"subprocess.run([{str(calls)!r}, 'opens'], check=True); told['seen'] = seen()"
    )
    assert answer.told["seen"] == [
        ["list", ".", True],
        *(["read", name, True] for name in ("read", "read64", "readat", "readat64")),
        ["write", "new", False],
        ["append", "old", True],
        ["write", "cut", True],
        ["write", "only", False],
        ["write", "made", False],
        ["write", "made64", False],
        ["read", "fread", True],
        ["update", "fplus", True],
        ["write", "fwrite", False],
        ["append", "fappend", True],
        ["write", "fonly", False],
        ["read", "fread", True],
        ["read", "again", True],
        ["read", "fread", True],
        ["write", "again64", False],
        ["list", "folder", True],
    ]


def test_names_of_temporary_files(folder: Path, calls: Path) -> None:
    answer = run_recorded(
        folder, "preload", f"subprocess.run([{str(calls)!r}, 'temporary'], check=True); told['seen'] = seen()"
    )
    assert answer.told["seen"] == [["write", name, False] for name in answer.text.split()]


def test_every_call_that_moves_or_removes(folder: Path, calls: Path) -> None:
    code = f"""
        subprocess.run([{str(calls)!r}, "moves"], check=True)
        name = lambda path: os.path.basename(path)
        told["seen"] = [(e.what, name(e.path), name(e.target), e.existed) for e in events()]
    """
    answer = run_recorded(folder, "preload", code)
    assert answer.told["seen"] == [
        ["rename", "from1", "to1", True],
        ["rename", "from2", "to2", False],
        ["rename", "from3", "to3", False],
        ["rename", "left", "right", True],
        ["rename", "right", "left", True],
        ["link", "linked", "name1", False],
        ["link", "linked", "name2", False],
        *(["remove", name, "", True] for name in ("gone1", "gone2", "gone3")),
        ["update", "short1", "", True],
        ["write", "short2", "", True],
    ]


def test_every_way_to_start_a_program(folder: Path, calls: Path) -> None:
    answer = run_recorded(
        folder, "preload", f"subprocess.run([{str(calls)!r}, 'starts'], check=True); told['seen'] = seen()"
    )
    assert answer.text.split() == ["read"] * 13
    assert answer.told["seen"] == [["read", "read", True]] * 13


def test_errors_are_those_of_the_calls(folder: Path, calls: Path) -> None:
    plain = subprocess.run([calls, "failing"], cwd=folder, capture_output=True, text=True, check=True)
    answer = run_recorded(
        folder, "preload", f"subprocess.run([{str(calls)!r}, 'failing'], check=True); told['seen'] = seen()"
    )
    assert answer.text.rstrip("\n") == plain.stdout.rstrip("\n")
    assert answer.told["seen"] == [["read", "read", True]]  # what failed did not happen


@pytest.mark.parametrize("mode", MODES)
def test_python_shells_and_children(folder: Path, mode: str) -> None:
    code = """
        open("read").read()
        with open("out", "w") as file: file.write("x")
        os.replace("out", "to1")
        told["python"] = [e[:2] for e in seen()]
        os.system("cat read > out1")
        told["system"] = seen()
        subprocess.run("cat out1 >> out2", shell=True, env={})
        told["clean"] = seen()
        os.popen("cat read64").read()
        told["popen"] = seen()
        pid = os.fork()
        if pid == 0:
            open("again").read()
            os._exit(0)
        os.waitpid(pid, 0)
        told["fork"] = seen()
        if sys.version_info >= (3, 10):
            pid = os.posix_spawn("/bin/cat", ["cat", "readat"], os.environ)
            os.waitpid(pid, 0)
        told["spawn"] = seen()
        told["lost"], told["mode"] = recorder.take_lost(), recorder.mode
    """
    told = run_recorded(folder, mode, code).told
    assert told["python"] == [["read", "read"], ["write", "out"], ["rename", "out"]]
    assert sorted(told["system"]) == [["read", "read", True], ["write", "out1", False]]
    assert sorted(told["clean"]) == [["read", "out1", True], ["write", "out2", False]]
    assert told["popen"] == [["read", "read64", True]]
    assert told["fork"] == [["read", "again", True]]
    assert told["spawn"] == [["read", "readat", True]]
    assert (told["lost"], told["mode"]) == (0, mode)


@pytest.mark.parametrize("mode", MODES)
def test_libraries_that_open_files_themselves(folder: Path, mode: str) -> None:
    code = """
        import numpy, pandas, pyarrow.csv, polars, duckdb, h5py, sqlite3
        frame = pandas.DataFrame({"a": [1, 2]})
        frame.to_parquet("a.parquet")
        frame.to_csv("a.csv")
        events()
        polars.read_parquet("a.parquet")
        pyarrow.csv.read_csv("a.csv")
        duckdb.sql("copy (select * from 'a.parquet') to 'b.csv'")
        with h5py.File("a.h5", "w") as file: file["x"] = [1]
        numpy.fromfile("read", dtype="u1")
        told["seen"] = sorted(set((what, path) for what, path, _ in seen()))
        base = sqlite3.connect("a.db")
        base.execute("create table t (x)")
        base.close()
        told["sqlite"] = sorted(set(path for what, path, _ in seen()))
    """
    told = run_recorded(folder, mode, code).told
    expected = {("read", "a.parquet"), ("read", "a.csv"), ("write", "a.h5"), ("read", "read")}
    assert expected <= {(what, path) for what, path in told["seen"]}
    assert {path for what, path in told["seen"] if what in ("write", "rename")} >= {"a.h5"}
    assert any(path.endswith("b.csv") for _, path in told["seen"])
    assert "a.db" in told["sqlite"]


def test_against_strace(folder: Path) -> None:
    """Every data file that the kernel was asked to open, by any process, is noted, and no other."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace")
    work = """
        import csv, gzip, sqlite3, tempfile, zipfile
        open("read").read()
        shell = "cat read64 old > sum; sort sum | tee sorted > /dev/null; cp -r folder copy; mv sum moved"
        subprocess.run(shell, shell=True)
        gzip.open("x.gz", "wb").close()
        with zipfile.ZipFile("x.zip", "w") as archive: archive.write("read")
        subprocess.run([sys.executable, "-c", "open('again').read(); open('child', 'w')"])
        subprocess.run(["tar", "cf", "x.tar", "read", "x.zip"])
        subprocess.run(["bash", "-c", "exec 3<>fplus; while read line; do :; done < read; echo x >> log"])
        told["files"] = sorted({e.path for e in events() if e.what in ("read", "write", "update")})
    """
    script = folder / "traced.sh"
    log = folder / "strace.log"
    script.write_text(f'#!/bin/sh\nexec {strace} -f -qq -e trace=open,openat,creat -o {log} {sys.executable} "$@"\n')
    script.chmod(0o755)
    told = run_recorded(folder, "patched", work, python=str(script)).told
    opened = set()
    for line in log.read_text().splitlines():
        if (f'"{folder}' not in line and 'AT_FDCWD, "/' in line) or ") = -1" in line or "O_DIRECTORY" in line:
            continue
        if '"' in line and ("O_" in line or " creat(" in line):
            opened.add(os.path.normpath(folder / line.split('"')[1]))
    kept = {path for path in opened if path.startswith(str(folder)) and "/kept/" not in path and path != str(log)}
    assert kept == set(told["files"])
    assert len(kept) == 12


def test_no_process_sees_the_recorder(folder: Path) -> None:
    python = "python3 -c 'import os; print(sorted(os.environ.items()))'"
    shows = f"env | sort; {python} || true; cat /proc/self/fd/0 </dev/null; ls /proc/self/fd"
    code = f"""
        told["environ"] = sorted(os.environ.items())
        told["shell"] = subprocess.run({shows!r}, shell=True, capture_output=True, text=True).stdout
        told["descriptors"] = sorted(os.listdir("/proc/self/fd"))
    """
    carried = run_recorded(folder, "preload", code).told
    patched = run_recorded(folder, "patched", code).told
    environ = dict(os.environ)  # libraries may have put more into the process's own
    plain = subprocess.run(
        shows, shell=True, capture_output=True, text=True, cwd=folder, env=environ, check=True
    ).stdout
    assert carried == patched
    assert dict(carried["environ"]) == dict(os.environ)
    assert _without_pwd(carried["shell"]) == _without_pwd(plain)
    assert "REPROKIT" not in carried["shell"]


def _without_pwd(text: str) -> list[str]:
    return [line for line in text.splitlines() if "PWD=" not in line and not line.startswith("[(")]


def test_a_library_of_the_users_own_stays_preloaded(folder: Path) -> None:
    code = """
        told["own"] = os.environ["LD_PRELOAD"]
        command = ["sh", "-c", "echo $LD_PRELOAD; cat read"]
        told["child"] = subprocess.run(command, capture_output=True, text=True).stdout
        told["none"] = subprocess.run(command, capture_output=True, text=True, env={}).stdout
        told["seen"] = seen()
    """
    answer = run_recorded(folder, "preload", code, LD_PRELOAD="libm.so.6")
    assert answer.told["own"] == "libm.so.6"
    assert answer.told["child"] == "libm.so.6\nread\n"
    assert answer.told["none"] == "\nread\n"
    assert answer.told["seen"] == [["read", "read", True]] * 2
    assert answer.errors == ""


def test_noise_is_left_out(folder: Path) -> None:
    code = """
        os.makedirs(".git/x"); os.makedirs("a.git")
        for name in (".git/x/y", "a.git/y", "z.py", "z.csv"): open(name, "w").close()
        told["seen"] = seen()
    """
    assert [path for _, path, _ in run_recorded(folder, "preload", code).told["seen"]] == ["a.git/y", "z.csv"]


def test_names_that_are_not_ascii_and_long_ones(folder: Path) -> None:
    code = """
        deep = "/".join(["d" * 200] * 8)
        os.makedirs(deep)
        names = ["größe.csv", os.fsdecode(b"\\xff\\xfe"), deep + "/f" * 1 + "é" * 50, "a b\\n'c"]
        events()
        for name in names: open(name, "w").close()
        told["same"] = [e.path for e in events()] == [os.path.abspath(name) for name in names]
        told["lost"] = recorder.take_lost()
    """
    assert run_recorded(folder, "preload", code).told == {"same": True, "lost": 0}


def test_patching_while_threads_open_and_load(folder: Path) -> None:
    code = """
        import ctypes, importlib
        stop = threading.Event()
        def work():
            while not stop.is_set():
                with open("read") as file: file.read()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        names = ("decimal", "sqlite3", "lzma", "numpy", "pandas")
        loader = threading.Thread(target=lambda: [importlib.import_module(name) for name in names])
        loader.start()
        for i in range(30):
            recorder.stop()
            recorder = module.Recorder.begin(pathlib.Path("kept"), noise, [])
        loader.join(); stop.set()
        for thread in threads: thread.join()
        recorder.drain(); recorder.take_lost()
        found = ctypes.CDLL("libc.so.6").fopen  # looked up now
        found.restype, found.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
        found(b"old", b"r")
        told["seen"] = seen()
    """
    assert run_recorded(folder, "patched", code).told["seen"] == [["read", "old", True]]


def test_connections_are_noted(folder: Path) -> None:
    code = """
        import socket
        server = socket.create_server(("127.0.0.1", 0)); port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        told["right"] = [e.path for e in recorder.drain() if e.what == "connect"] == [f"127.0.0.1:{port}"]
    """
    assert run_recorded(folder, "preload", code).told["right"]


def test_programs_are_told_by_their_path(folder: Path) -> None:
    code = """
        subprocess.run(["cat", "read"], stdout=subprocess.DEVNULL)
        os.system("true")
        told["exec"] = [os.path.basename(e.path) for e in recorder.drain() if e.what == "exec"]
    """
    assert Counter(run_recorded(folder, "preload", code).told["exec"]) == {"cat": 1, "sh": 1}
