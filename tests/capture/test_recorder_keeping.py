"""The recorder's ring, the bytes it keeps, and how it begins and ends, in real processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from carrying import MODES, REPOSITORY, compiled, made_folder, run_recorded

from reprokit.capture import preload
from reprokit.capture.files import recorder

pytestmark = pytest.mark.skipif(not recorder.is_available(), reason="the recorder is not built here")


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("calls"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_folder(tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_many_threads(folder: Path, mode: str) -> None:
    code = """
        def work(number):
            for i in range(2000):
                with open(f"read{number}" if i == 0 else "read"): pass
        for number in range(8): open(f"read{number}", "w").close()
        events()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        told["count"], told["lost"] = len(events()), recorder.take_lost()
    """
    assert run_recorded(folder, mode, code).told == {"count": 16000, "lost": 0}


def test_more_events_than_the_ring_holds(folder: Path, calls: Path) -> None:
    code = f"""
        loop = lambda count: subprocess.Popen([{str(calls)!r}, "loop", str(count)])
        with recorder._lock:  # nobody takes events out
            for child in [loop(40000) for _ in range(4)]: child.wait()
        told["full"] = len(events()), recorder.take_lost()
        for child in [loop(40000) for _ in range(4)]: child.wait()
        told["taken"] = len(events()), recorder.take_lost()
    """
    told = run_recorded(folder, "preload", code).told
    assert sum(told["full"]) == 160000
    assert 60000 < told["full"][0] < 160000
    assert (
        sum(told["taken"]) == 160000
    )  # what a writer that was put to sleep in the middle had no time to note is counted
    assert told["taken"][0] > 159000


def test_writers_that_are_killed(folder: Path, calls: Path) -> None:
    code = f"""
        total = 0
        for i in range(60):
            child = subprocess.Popen([{str(calls)!r}, "loop", "-1"])
            while len(found := events()) < 100 + i: pass
            child.kill()
            child.wait()
            total += len(found)
            told["wrong"] = [e for e in found if e.what != "read" or os.path.basename(e.path) != "read"]
            assert not told["wrong"]
        events()
        told["lost"] = recorder.take_lost()
        open("again").close()
        told["seen"] = seen()
    """
    told = run_recorded(folder, "preload", code).told
    assert told["seen"] == [["read", "again", True]]
    assert told["lost"] <= 60  # at most the event that each was in the middle of


@pytest.mark.parametrize("mode", MODES)
def test_bytes_that_were_read_are_kept_before_they_are_lost(folder: Path, mode: str) -> None:
    code = """
        for name in ("read", "old", "to1", "gone1", "cut"): open(name).close()
        shell = "echo new > read; echo more >> old; mv from1 to1; rm gone1; truncate -s 1 cut; echo x > again"
        subprocess.run(shell, shell=True)
        kept = [(os.path.basename(e.target or e.path), open(e.before).read()) for e in recorder.drain() if e.before]
        told["kept"] = sorted(kept)
        told["names"] = os.listdir(recorder._folder)
    """
    told = run_recorded(folder, mode, code).told
    assert told["kept"] == [[name, f"{name}\n"] for name in ("cut", "gone1", "old", "read", "to1")]
    assert len(told["names"]) == 5


def test_bytes_are_kept_once_and_only_when_somebody_needs_them(folder: Path) -> None:
    code = """
        shell = lambda command: subprocess.run(command, shell=True)
        kept = lambda: [os.path.basename(e.path) for e in recorder.drain() if e.before]
        shell("echo a > read; echo b >> read; rm gone1; mv from1 to1")  # nobody had read them
        told["unread"] = kept()
        shell("echo a >> old; echo b >> old; cat old; echo c >> old")  # the first time only; then it is its own
        told["update"] = kept()
        open("again").read(); recorder.protect("again", False)
        shell("echo a > again")
        told["settled"] = kept()
        recorder.protect("fread", True)
        shell("echo a > fread")
        told["protected"] = kept()
    """
    told = run_recorded(folder, "preload", code).told
    assert told == {"unread": [], "update": ["old"], "settled": [], "protected": ["fread"]}


def test_a_file_too_large_to_copy_is_not_kept(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(65 << 20)
    code = """
        open("large").close()
        subprocess.run("echo x > large", shell=True)
        told["large"] = [e.before for e in events() if e.what == "write"]
    """
    kept = run_recorded(folder, "preload", code).told["large"]
    assert kept == [None] or Path(kept[0]).stat().st_size == 65 << 20  # where files can be cloned


@pytest.mark.parametrize("mode", MODES)
def test_quiet_threads_and_blocks(folder: Path, mode: str) -> None:
    code = """
        def work():
            recorder.quiet()
            open("read").close()
            os.system("cat read64 > /dev/null")
            told["env"] = subprocess.run("env", capture_output=True, text=True).stdout
        thread = threading.Thread(target=work); thread.start(); thread.join()
        with recorder.hushed():
            open("old").close()
            subprocess.run(["cat", "again"])
        told["quiet"] = seen(), recorder.opaque()
        open("cut").close()
        told["seen"] = seen()
    """
    told = run_recorded(folder, mode, code).told
    assert told["quiet"] == [[], []]
    assert told["seen"] == [["read", "cut", True]]
    assert "LD_PRELOAD" not in told["env"]


def test_a_run_after_a_run(folder: Path) -> None:
    code = """
        recorder.stop()
        open("read").close()
        recorder = module.Recorder.begin(pathlib.Path("kept2"), noise, [])
        told["between"] = seen()
        open("old").close()
        told["second"] = seen()
        told["rings"] = [n for n in os.listdir("/dev/shm") if f"-{os.getpid()}-" in n]
    """
    told = run_recorded(folder, "patched", code).told
    assert told["between"] == []
    assert told["second"] == [["read", "old", True]]
    assert len(told["rings"]) == 1
    assert not (Path("/dev/shm") / told["rings"][0]).exists()  # gone with the process


def test_rings_of_killed_processes_are_removed(folder: Path) -> None:
    shared = folder / "shared"  # not the machine's own: any other recorder that begins would remove what is stale
    shared.mkdir()
    source = (
        f"import os, sys, pathlib; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        f"from reprokit.capture.files import recorder; recorder._SHARED = {str(shared)!r}\n"
        "recorder.Recorder.begin(pathlib.Path('kept'), [], []); print(*os.listdir(recorder._SHARED), flush=True)\n"
    )
    left = []
    for end in ("os.kill(os.getpid(), 9)", ""):
        command = [sys.executable, "-c", source + end]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        left.append(done.stdout.split())
    assert (len(left[0]), len(left[1])) == (1, 1), left
    assert left[0] != left[1]


def test_programs_that_cannot_be_seen_into(folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "p.c").write_text("int main(void) { return 0; }\n")
    note = 'asm(".section .note.go.buildid,\\"a\\"\\n.long 4, 4, 4\\n.asciz \\"Go\\\\0\\"\\n.long 1\\n.previous");\n'
    (folder / "go.c").write_text(note + "int main(void) { return 0; }\n")
    subprocess.run([compiler, "-o", "golang", "go.c"], cwd=folder, check=True)
    subprocess.run([compiler, "-o", "plain", "p.c"], cwd=folder, check=True)
    shutil.copy(folder / "plain", folder / "setuid")
    (folder / "setuid").chmod(0o4755)
    has_static = subprocess.run([compiler, "-static", "-o", "static", "p.c"], cwd=folder, check=False).returncode == 0
    shows = "#include <stdio.h>\nint main(int c, char **v, char **e) { for (; *e; e++) puts(*e); return 0; }\n"
    (folder / "shows.c").write_text(shows)
    subprocess.run([compiler, "-static", "-o", "shows", "shows.c"], cwd=folder, check=False)
    code = """
        for name in ("plain", "golang", "setuid", "static"):
            if os.path.exists(name): subprocess.run(["./" + name], check=True)
        os.system("./plain; cat read > /dev/null")
        if os.path.exists("shows"): told["static"] = subprocess.run(["./shows"], capture_output=True, text=True).stdout
        recorder.drain()
        told["opaque"] = sorted(map(os.path.basename, recorder.opaque()))
        told["again"] = recorder.opaque()
    """
    told = run_recorded(folder, "preload", code).told
    assert told["opaque"] == ["golang", "setuid", *(["shows", "static"] if has_static else [])]
    assert "REPROKIT" not in told.get("static", "")
    assert "LD_PRELOAD" not in told.get("static", "")
    assert told["again"] == []


def test_a_folder_whose_name_the_loader_cannot_take(folder: Path) -> None:
    elsewhere = folder / "my own folder"
    shutil.copytree(REPOSITORY / "reprokit", elsewhere / "reprokit", ignore=shutil.ignore_patterns("__pycache__"))
    source = (
        f"import os, sys, pathlib, subprocess; sys.path.insert(0, {str(elsewhere)!r})\n"
        "from reprokit.capture.files import recorder\n"
        "r = recorder.Recorder.begin(pathlib.Path('kept'), ['/etc/', '/lib', '/usr/', '/proc/'], [])\n"
        "subprocess.run(['cat', 'read'])\n"
        "print([e.path for e in r.drain() if e.what == 'read' and e.path.endswith('read')])\n"
        "os.unlink(recorder.loadable())"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert str(folder / "read") in done.stdout


def test_without_the_library_there_is_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload, "LIBRARY", str(folder / "recorder.so"))
    assert recorder.Recorder.begin(folder / "kept", [], []) is None
    assert "no C compiler" in recorder.why_not()
    (folder / "recorder.so").write_text("no library")
    assert recorder.Recorder.begin(folder / "kept", [], []) is None
    assert recorder.why_not() != ""
    assert not (folder / "kept").exists()


def test_a_run_inside_a_run_is_told_as_something_unseen(folder: Path) -> None:
    code = """
        inner = [
            f"import sys, pathlib; sys.path.insert(0, {sys.path[0]!r})",
            "from reprokit.capture.files.recorder import Recorder",
            "r = Recorder.begin(pathlib.Path('inner'), [], [])",
            "open('read').close(); assert [e.path for e in r.drain() if e.path.endswith('/read')]",
        ]
        subprocess.run([sys.executable, "-c", "\\n".join(inner)], check=True)
        told["seen"] = [path for what, path, _ in seen() if path == "read"]
        told["opaque"] = recorder.opaque() == [os.path.realpath(sys.executable)]
    """
    assert run_recorded(folder, "preload", code).told == {"seen": [], "opaque": True}


def test_a_program_that_cannot_be_read_counts_as_one_that_cannot_be_looked_into(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"\x7fELF\x02")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    found = [recorder.is_opaque(str(tmp_path / name)) for name in ("torn", "script", "absent")]
    assert found == [True, False, False]
