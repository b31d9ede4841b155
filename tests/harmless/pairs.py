"""Two real kernels that are given the same cells, one with a run open and one that never heard of reprokit."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from reprokit.capture.files import recorder

SECONDS = 30.0
LOOK = Path(__file__).with_name("look.py")
_SHOWN = frozenset(
    [
        "stream",
        "display_data",
        "update_display_data",
        "execute_result",
        "error",
        "clear_output",
        "comm_open",
        "comm_msg",
        "comm_close",
        "execute_input",
        "input_request",
    ]
)
_ID = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9a-f])")
# A message of reprokit's own carries this key; a user sees it, as the answer to a verb of theirs or as the one warning.
_OWN = "reprokit"


@dataclass(frozen=True)
class Sheet:
    """A notebook of the test: its cells, each with the words that say how it is compared."""

    name: str
    cells: tuple[tuple[str, str], ...]


def read_sheet(path: Path) -> Sheet:
    """Read cells parted by lines that begin with ``# %%``; what follows on that line are the cell's words."""
    parts = re.split(r"^# %%(.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
    cells = zip(parts[1::2], parts[::2], strict=True)
    return Sheet(path.stem, tuple((source.strip("\n"), words.strip()) for source, words in cells))


@dataclass
class Seen:
    """What one cell showed, what the kernel answered, and how the process was afterwards."""

    shown: list[Any] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    own: list[str] = field(default_factory=list)


class Side:
    """One of the two kernels, in a project and a HOME of its own."""

    def __init__(self, folder: Path, template: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.project = folder / "project"
        folder.mkdir()
        shutil.copytree(template, self.project, symlinks=True)
        for name in ("home", "scratch"):
            (folder / name).mkdir()
        self.environ = {
            **environ,
            "HOME": str(folder / "home"),
            "IPYTHONDIR": str(folder / "home" / "ipython"),
            "MPLCONFIGDIR": str(folder.parent / "matplotlib"),
            "TMPDIR": str(folder / "scratch"),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.sockets = tempfile.TemporaryDirectory(prefix="kernel-")  # their paths must be short
        self.manager = self._start()
        self.client = self.manager.client()
        self.client.start_channels()
        self.pids: list[int] = []
        self._names: dict[str, str] = {}

    def _start(self) -> Any:
        # Sockets in a folder: a port that is free when it is chosen may be another process's when it is taken.
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{self.sockets.name}/kernel")
        manager.start_kernel(cwd=str(self.project), env=self.environ, stderr=subprocess.DEVNULL)
        return manager

    def ready(self) -> None:
        """Wait for the kernel and put the look into it."""
        self.client.wait_for_ready(timeout=SECONDS)
        self.pids.append(self.manager.provisioner.pid)
        self.silently(
            "import types\nget_ipython()._look = types.ModuleType('look')\n"
            f"exec(compile(open({str(LOOK)!r}).read(), 'look.py', 'exec'), vars(get_ipython()._look))\ndel types"
        )

    def silently(self, code: str) -> None:
        """Execute something that is no cell."""
        reply = self.client.execute(code, silent=True, reply=True, timeout=SECONDS)
        assert reply["content"]["status"] == "ok", reply["content"]

    def look(self, what: str = "take(get_ipython())") -> Any:
        """Ask how the process is."""
        expression = {"look": f"get_ipython()._look.{what}"}
        reply = self.client.execute("", silent=True, user_expressions=expression, reply=True, timeout=SECONDS)
        answer = reply["content"]["user_expressions"]["look"]
        assert answer["status"] == "ok", answer
        return json.loads(self.without_names(ast.literal_eval(answer["data"]["text/plain"]), {}))

    def send(self, code: str, *, cell_id: str, answers: bool) -> str:
        """Ask for an execution as JupyterLab does."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {"two": "1 + 1"},
            "allow_stdin": answers,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id, "deletedCells": []})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def result(self, request: str, words: str) -> Seen:
        """Wait until the cell is done, giving it what it waits for, and return what it showed."""
        seen, answers = Seen(), _answers(words)
        for message in self._messages(request, _awaited(words)):
            kind, content = message["msg_type"], message["content"]
            if kind == "input_request":
                seen.asked.append(content)
                self.client.input(answers.pop(0))
            elif _OWN in content.get("metadata", {}):
                seen.own.append(content["data"]["text/plain"])
            elif kind in _SHOWN:
                seen.shown.append([kind, content])
                if "interrupt" in words and "go on" in str(content.get("text")):
                    self.manager.signal_kernel(signal.SIGINT)
        while (reply := self.client.get_shell_msg(timeout=SECONDS))["parent_header"].get("msg_id") != request:
            pass
        seen.reply = json.loads(self.without_names(json.dumps(reply["content"]), self._names))
        seen.shown = json.loads(self.without_names(json.dumps(_grouped(seen.shown)), self._names))
        return seen

    def _messages(self, request: str, awaited: str) -> Iterator[Any]:
        """Yield what the kernel sends and asks on behalf of a request, until it is idle again.

        What is written to a descriptor is shown by a thread of the kernel's, at times after the cell and as if it were
        another's: ``awaited`` is such a text, which must have come too.
        """
        idle, shown = False, ""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for receive, patience in ((self.client.get_iopub_msg, 0.05), (self.client.get_stdin_msg, 0)):
                try:
                    message = receive(timeout=patience)
                except queue.Empty:
                    continue
                is_text = message["msg_type"] == "stream"
                if message["parent_header"].get("msg_id") != request and not (awaited and is_text):
                    continue
                until = time.monotonic() + SECONDS
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    idle = True
                else:
                    yield message
                shown += message["content"]["text"] if is_text else ""
                if idle and awaited in shown:
                    return
        raise TimeoutError("the kernel does not answer")

    def run(self, code: str) -> Seen:
        """Execute a cell that is not compared."""
        return self.result(self.send(code, cell_id="other", answers=False), "")

    def without_names(self, text: str, ids: dict[str, str]) -> str:
        """Return JSON without what differs in any two processes: paths, process ids, addresses, random ids."""
        for path in (str(self.folder), str(self.folder.resolve())):
            text = text.replace(path, "<folder>")
        for pid in self.pids:  # a digest that begins with one is left alone
            text = re.sub(
                rf"[0-9a-f]{{12,}}|(?<!\d){pid}(?!\d)", lambda found: found[0] if len(found[0]) > 11 else "<pid>", text
            )
        text = re.sub(r"(0x|object at )[0-9a-fA-F]{6,}", "<address>", text)
        text = re.sub(r"/tmp/tmp\w{8}\.json", "<connection>", text)
        text = re.sub(r"(?<=started|stopped) \d{12,}", "", text)  # the system's number of a thread
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{24}_\w+", "<message>", text)
        return _ID.sub(lambda found: ids.setdefault(found[0], f"<id {len(ids)}>"), text)

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return the files of the project and of HOME, with their modes and bytes, the store aside."""
        found = {}
        for folder in ("project", "home", "scratch"):
            for path in sorted((self.folder / folder).rglob("*")):
                name = path.relative_to(self.folder).as_posix()
                name = re.sub(r"^scratch/tmp\w{8}", "scratch/tmp", name)
                if path.is_file() and not re.search(r"/\.(reprokit|git)/|home/ipython/|/cache/", name):
                    found[name] = (path.stat().st_mode, path.read_bytes())
        return found

    def restart(self) -> None:
        """Restart the kernel as a front end does."""
        self.manager.restart_kernel(now=False)
        self.ready()

    def stop(self) -> None:
        """End the kernel, and what its cells forked and left running: all are of the kernel's own process group."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.sockets.cleanup()


class Pair:
    """A plain kernel and one with a run open, asked the same in turn.

    Args:
        folder: where both are given a folder of their own.
        template: the project that both are given a copy of.
        environ: what both are started with.
        carried: whether the watched one carries the native recorder from its start.
    """

    def __init__(self, folder: Path, template: Path, environ: Mapping[str, str], *, carried: bool = False) -> None:
        self.plain = Side(folder / "a", template, environ)
        self.watched = Side(folder / "b", template, {**environ, **(recorder.carried(environ) if carried else {})})
        self.watched.pids = self.plain.pids  # a number that a cell shows may be one of them by chance: masked in both
        self.differences: list[str] = []
        self.warnings: list[str] = []
        self._told: set[str] = set()

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both kernels, the plain one first."""
        return self.plain, self.watched

    def start(self) -> None:
        """Open the run in one of them, then make both draw the same."""
        for side in self.sides:
            side.ready()
        for plain, watched in (("pass", "%load_ext reprokit"), ("pass", "%repro start sheet")):
            self.plain.run(plain)
            self.watched.run(watched)
        for side in self.sides:
            side.silently("__import__('random').seed(1)")

    def run(self, number: int, source: str, words: str) -> None:
        """Give both a cell and note every difference."""
        answers = bool(_answers(words))
        requests = [side.send(source, cell_id=f"cell-{number}", answers=answers) for side in self.sides]
        where = f"cell {number} ({source.splitlines()[0][:60] if source else ''}…)"
        try:
            plain, watched = (side.result(request, words) for side, request in zip(self.sides, requests, strict=True))
        except Exception as error:
            raise AssertionError("\n".join([f"{where} never ended", *self.differences])) from error
        self.warnings += watched.own
        for what in ("asked", "reply") if "unshown" in words else ("shown", "asked", "reply"):
            self._compare(
                f"{where}: {what}", _masked(getattr(plain, what), words), _masked(getattr(watched, what), words)
            )
        if "blind" in words:  # the cell leaves a process in which nothing can be asked
            return
        looks = [side.look() for side in self.sides]
        for what in looks[0]:
            if f"no-{what}" not in words:
                self._compare(f"{where}: {what}", *_tolerant(what, looks[0][what], looks[1][what]), lasting=True)

    def finish(self) -> None:
        """Compare what is left when the run is stopped and the extension is gone."""
        finals = [side.look("final(get_ipython())") for side in self.sides]
        for found in finals:
            found["child"] = _own_variables_aside(found["child"])
        extra = set(finals[1].pop("modules")) - set(finals[0].pop("modules"))
        self._compare("modules that only the watched kernel has", [], sorted(extra - LOADED))
        self._compare("at the end", finals[0], finals[1])
        self._compare("files", *(side.files() for side in self.sides))
        for plain, watched in (("pass", "%repro stop"), ("pass", "%unload_ext reprokit")):
            self.plain.run(plain)
            ended = self.watched.run(watched)
            assert ended.reply["status"] == "ok", ended
            assert ended.own or "unload" in watched, ended
        looks = [side.look() for side in self.sides]
        for look in looks:
            look["settings"]["history"] = look["settings"]["history"][:-2]  # the two cells above
        for what in looks[0]:
            self._compare(f"after the run: {what}", looks[0][what], looks[1][what])

    def _compare(self, where: str, plain: Any, watched: Any, *, lasting: bool = False) -> None:
        for at, line in _difference(plain, watched):
            if not lasting or at not in self._told:  # what lasts is told once, not after every cell
                self.differences.append(f"{where}{at}: {line}")
            if lasting:
                self._told.add(at)

    def stop(self) -> None:
        """End both kernels."""
        for side in self.sides:
            side.stop()


# -- what reprokit is allowed to add -------------------------------------------------------------------------

# Modules of the standard library that the agent loads and a plain kernel does not have.
LOADED: frozenset[str] = frozenset()
# Among them a file that the user holds a lock on: to close it would drop the lock.
_DESCRIPTORS = re.compile(
    r"anon_inode:inotify|pipe|.*/project/\.reprokit/.*|.*/project/lock\.tmp|/dev/shm/reprokit-.*|/proc/.*/io"
)


def _tolerant(what: str, plain: Any, watched: Any) -> tuple[Any, Any]:
    """Return both with what belongs to an open run taken out of the watched one."""
    if what == "threads":
        watched = [name for name in watched if not name.startswith("reprokit")]
    elif what == "descriptors":
        for name in [name for name in watched if _DESCRIPTORS.fullmatch(name)]:
            plain[name] = watched[name] = max(plain.get(name, 0), watched[name])
    elif what == "hooks":
        watched["imports"] = [
            [name for name in names if not name.startswith("reprokit.")] for names in watched["imports"]
        ]
    elif what == "settings":
        watched["shm"] = [name for name in watched["shm"] if not name.startswith("reprokit-")]
        watched["events"] = {
            name: [one for one in hooks if not one.startswith("reprokit.")] for name, hooks in watched["events"].items()
        }
    elif what == "environ":
        plain, watched = _own_variables_aside(plain), _own_variables_aside(watched)
    return plain, watched


def _own_variables_aside(environ: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in environ.items() if not name.startswith("REPROKIT_")}


# -- comparing -----------------------------------------------------------------------------------------------


def _answers(words: str) -> list[str]:
    found = re.search(r"answers=(.*)", words)
    return found[1].encode().decode("unicode_escape").split("|") if found else []


def _awaited(words: str) -> str:
    found = re.search(r"awaited=(.*)", words)
    return found[1] if found else ""


def _grouped(messages: Sequence[Any]) -> list[Any]:
    """Join what came on each stream between two other messages: how it is cut is a matter of time."""
    grouped: list[Any] = []
    streams: dict[str, str] = {}
    for kind, content in [*messages, ["end", None]]:
        if kind == "stream":
            streams[content["name"]] = streams.get(content["name"], "") + content["text"]
            continue
        grouped += [["stream", name, streams[name]] for name in sorted(streams)]
        streams = {}
        grouped.append([kind, content])
    return grouped[:-1]


def _masked(value: Any, words: str) -> Any:
    """Leave out what a cell's words say differs from one process to the next."""
    text = json.dumps(value, ensure_ascii=False)
    if "digits" in words:
        text = re.sub(r"[-+]?\d[\d.,:e+-]*(?: ?(?:s|ms|μs|µs|ns|us|min)\b)?", "N", text)
        text = re.sub(r"N(?:[ /]*N)+", "N", text)
    if "kinds" in words:
        return [entry[0] for entry in json.loads(text)] if isinstance(value, list) else value["status"]
    return json.loads(text) if "digits" not in words else text


def _difference(plain: Any, watched: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield every place at which two values differ, and how."""
    if isinstance(plain, dict) and isinstance(watched, dict):
        for key in sorted({*plain, *watched}, key=str):
            yield from _difference(plain.get(key, "<absent>"), watched.get(key, "<absent>"), f"{at} · {key}")
    elif isinstance(plain, list) and isinstance(watched, list) and len(plain) == len(watched):
        for number, (one, other) in enumerate(zip(plain, watched, strict=True)):
            yield from _difference(one, other, f"{at}[{number}]")
    elif plain != watched:
        yield at, f"plain {_short(plain)} / watched {_short(watched)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) < 600 else f"{text[:250]} … {text[-250:]}"
