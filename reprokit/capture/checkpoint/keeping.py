"""Keeps checkpoints of a kernel, and brings one back: what a parent process asks for, between two cells.

What is kept is an object of the store. Beside the run's record lies a note for each, ``checkpoints/CELL.json``, which
names it: whoever wants to go on from there reads the note, and nothing is unpickled before all of it was checked.
Nothing here reaches the user's cells: what cannot be kept is told as a gap, and the run goes on.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from reprokit.capture import notebook as notebook_module
from reprokit.capture.checkpoint import modules, pickled, shell, standing
from reprokit.capture.checkpoint.refused import Refused
from reprokit.capture.interrupts import Held
from reprokit.capture.probe import Patch
from reprokit.capture.session import Session
from reprokit.capture.swallowed import described
from reprokit.digest import of_file
from reprokit.records import Checkpoint, Gap

__all__ = ["FOLDER", "begin", "keep", "restore"]

FOLDER = "checkpoints"  # in the run's folder
_FORMAT = 1
_REMEDY = "make such things in the cells that use them, and delete them there"
_NAMED = 8  # variables that a message names

_baseline: standing.Baseline | None = None
_magics: set[str] = set()  # that there were before the first cell
_told: set[str] = set()  # what cannot be kept is told once


def begin() -> None:
    """Note how the kernel is before the first cell; called once, when checkpoints are wanted."""
    global _baseline
    _baseline = standing.Baseline()
    session = _session()
    _magics.update(shell.magics(_shell()))
    if session is not None and not pickled.found():
        _tell(session, None, "no checkpoint can be kept: dill is not in the kernel's environment", "install dill there")


def keep(seq: int) -> None:
    """Keep a checkpoint after cell ``seq``, or tell which variables are in its way."""
    session = _session()
    if session is None or _baseline is None or not pickled.found():
        return
    began = monotonic()
    states = session.randomness.kept()
    try:
        session.catch_up()
        with session.objects.writing() as out:
            _write(session, out, states)
        _note(session, seq, out.digest, out.size, monotonic() - began)
    except pickled.Unkept as error:
        _tell(session, seq, f"no checkpoint after cell {seq}: {_listed(error.names)}", _REMEDY)
    except Exception as error:  # a full disk, say: the run goes on without
        _tell(session, seq, f"no checkpoint after cell {seq}: {described(error)}", "")
    finally:
        session.randomness.undisturbed(states)


def _session() -> Session | None:
    found = notebook_module.of(_shell())
    return None if found is None else found.session


def _shell() -> Any:
    ipython: Any = sys.modules["IPython"]
    return ipython.get_ipython()


def _tell(session: Session, seq: int | None, message: str, remedy: str) -> None:
    what = message.partition(": ")[2]
    if what not in _told:
        _told.add(what)
        session.gap(Gap(aspect="checkpoint", message=message, remedy=remedy, cell=seq))


def _listed(names: dict[str, str]) -> str:
    shown = [_said(name, what) for name, what in list(names.items())[:_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _said(name: str, what: str) -> str:
    joined = f"{name} is {what}" if what.startswith(("a ", "an ")) else f"{name}: {what}"
    return joined if name else what


# -- writing --------------------------------------------------------------------------------------------


def _write(session: Session, out: Any, states: dict[str, Any]) -> None:
    front, places = _shell(), _places(session)
    own = modules.own(session.project, (session.layout.root,))
    parts = {
        "settings": _asked(standing.taken),
        "project": modules.values(own, lambda value: pickled.refusal(value, places)),
        "variables": shell.variables(front),
        "shell": _asked(lambda: shell.taken(front, _magics)),
    }
    assert _baseline is not None
    if running := _baseline.running():
        raise pickled.Unkept(running)
    opening = {
        "format": _FORMAT,
        "run": session.run_id,
        "cwd": str(Path.cwd()),
        "environ": _baseline.changed_environ(),
        "path": list(sys.path),
        "modules": modules.loaded(),
        "extensions": {key: parts["shell"][key] for key in ("extensions", "inline")},
        "random": states,
    }
    pickled.write(out, opening, parts, places)


def _asked(take: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return take()
    except Refused as error:
        raise pickled.Unkept({"": str(error)}) from error


def _places(session: Session) -> dict[str, Any]:
    """Return what there is one of in each kernel, and must be the new kernel's own."""
    found = {**shell.places(_shell()), "random": random._inst, "environ": os.environ, "stdin": sys.stdin}
    found |= {"stdout": sys.stdout, "stderr": sys.stderr, "path": sys.path, "modules": sys.modules, "session": session}
    for place in (("numpy.random.mtrand", "_rand"), ("torch", "default_generator"), ("matplotlib", "rcParams")):
        module = sys.modules.get(place[0])
        if module is not None and hasattr(module, place[1]):
            found[".".join(place)] = getattr(module, place[1])
    return found


def _note(session: Session, seq: int, digest: str, size: int, took: float) -> None:
    """Tell of a checkpoint: in the record, and for whoever wants to go on from it."""
    kept = Checkpoint(size=size, took_s=round(took, 3))
    session.emit(seq, Patch(set={"checkpoint": kept.to_dict()}))
    session.objects.sync()
    session.journal.sync()
    environment = session.run().environment
    own = modules.own(session.project, (session.layout.root,))
    note = {
        "cell": seq,
        "digest": digest,
        **kept.to_dict(),
        "lines": session.journal.path.read_bytes().count(b"\n"),
        "python": platform.python_version(),
        "dill": pickled.version(),
        "environment": None if environment is None else environment.fingerprint,
        "modules": {str(file): of_file(file) for file in _files(own)},
    }
    folder = session.layout.run_folder(session.run_id) / FOLDER
    folder.mkdir(exist_ok=True)
    _write_whole(folder / f"{seq}.json", note)
    _thin(session, folder)


def _files(own: dict[str, Any]) -> list[Path]:
    return sorted({Path(module.__file__) for module in own.values() if Path(module.__file__).is_file()})


def _write_whole(path: Path, note: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="ascii") as file:
        json.dump(note, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _thin(session: Session, folder: Path) -> None:
    """Keep the newest checkpoints only; nothing but its note names one."""
    notes = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    for path in notes[: -session.settings.checkpoints]:
        digest = json.loads(path.read_text("ascii"))["digest"]
        path.unlink()
        with suppress(FileNotFoundError):
            session.objects.path(digest).unlink()


# -- bringing back --------------------------------------------------------------------------------------


def restore(path: str, digest: str, python: str, dill: str) -> None:
    """Make this kernel, in which no cell ran yet, what the other one was after the checkpoint's cell.

    Args:
        path: the object.
        digest: its name.
        python: the version that wrote it.
        dill: likewise.

    Raises:
        ValueError: it cannot be brought back; the kernel is of no use any more.
    """
    _require(Path(path), digest, python, dill)
    session, front = _session(), _shell()
    if session is None:
        raise ValueError("no run is open in the kernel")
    with Held() as held:
        reading = pickled.read(Path(path))
        opening = reading.opening
        _put_environ(opening["environ"])
        sys.path[:] = opening["path"]
        modules.again(opening["modules"])  # most were imported where the kernel began, some perhaps where it went
        os.chdir(opening["cwd"])
        modules.again(opening["modules"])
        shell.settled(front, opening["extensions"])
        parts = reading.parts(_places(session))
        standing.put_back(parts["settings"])
        modules.put_back(parts["project"])
        shell.put_back(front, parts["shell"], parts["variables"])
        session.files.goes_on(_written(session))
        session.randomness.go_on(opening["random"])
    held.deliver()


def _written(session: Session) -> Iterator[str]:
    """Yield the files that the restored cells had written."""
    for line in () if session.request.drive is None else session.request.drive.restored:
        for use in line.get("set", {}).get("writes", ()):
            yield use["path"]


def _require(path: Path, digest: str, python: str, dill: str) -> None:
    here = platform.python_version()
    if here.split(".")[:2] != python.split(".")[:2]:
        raise ValueError(f"it was kept by Python {python}, and this is {here}")
    if not pickled.found():
        raise ValueError("dill is not in the kernel's environment")
    if pickled.version() != dill:
        raise ValueError(f"it was kept by dill {dill}, and this is {pickled.version()}")
    if of_file(path) != digest:
        raise ValueError("its bytes are damaged")


def _put_environ(changed: dict[str, str | None]) -> None:
    for name, value in changed.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
