"""``python -m reprokit.pipeline.carried SPEC``: a step in a container, which is gone when the step is over.

Where an orchestrator hands artifacts over at paths of its own, ``--take FILE FROM`` puts one where the step
reads it, and ``--give FILE TO`` brings one where it is fetched. With ``--push`` the run goes to the project's
remote, if it has one, however the step ended. The exit code is the step's; 75 when only the push did not succeed.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reprokit.errors import ReprokitError
from reprokit.pipeline import result
from reprokit.pipeline.spec import Spec, encode, read

__all__ = ["main"]

_LACKING = 1  # of `reprokit push`: the run is there, but for something that it needs


def main(argv: Sequence[str] | None = None) -> int:
    """Carry the files in, run the step as a process of its own, carry out what it made, and push its run.

    Args:
        argv: the arguments after the module's name; those of this process by default.
    """
    asked = _parser().parse_args(argv)
    try:
        spec = read(asked.spec)
        for file, source in asked.take:
            _copy(Path(source), Path(file))
    except (OSError, ReprokitError) as error:
        return _refuse(error)
    code, run = _performed(spec)
    try:
        for file, target in asked.give if code == result.DONE else ():
            _copy(Path(file), Path(target))
    except OSError as error:
        code = _refuse(error)
    kept = _pushed(spec, run) if asked.push and run is not None else result.DONE
    return code or kept


def _performed(spec: Spec) -> tuple[int, str | None]:
    """Run the step, and return its exit code and its run; SIGTERM is handed on, SIGINT a terminal sends to both."""
    with tempfile.TemporaryDirectory(prefix="reprokit-") as folder:
        place = Path(folder, "result.json") if spec.result is None else spec.path(spec.result)
        spec = dataclasses.replace(spec, result=str(place.resolve()))
        step = subprocess.Popen([sys.executable, "-m", "reprokit.step", encode(spec)])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: step.send_signal(number))
        code = step.wait()
        found = result.read(place)
    return code if code >= 0 else 128 - code, None if found is None else found.run


def _pushed(spec: Spec, run: str) -> int:
    """Bring a run to the project's remote; without one it is told that the run ends with the container."""
    from reprokit.store.store import Store

    if not Store.open(spec.folder).settings.remote:
        _say(f"run {run} stays in this container: set `remote` in [tool.reprokit], or REPROKIT_REMOTE")
        return result.DONE
    code = subprocess.run([sys.executable, "-m", "reprokit", "push", run], cwd=spec.folder, check=False).returncode
    return result.DONE if code in (result.DONE, _LACKING) else result.LATER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reprokit.pipeline.carried", description="Run one step.")
    parser.add_argument("spec", help="what `python -m reprokit.step` is given")
    for word, what in (("--take", "put FROM here before the step"), ("--give", "bring this to TO after it")):
        names = ("FILE", "FROM" if word == "--take" else "TO")
        parser.add_argument(word, nargs=2, action="append", default=[], metavar=names, help=what)
    parser.add_argument("--push", action="store_true", help="bring the run to the project's remote, if it has one")
    return parser


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, and make the folder that it goes into."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _refuse(error: OSError | ReprokitError) -> int:
    known = isinstance(error, ReprokitError)
    _say(str(error) if known else f"{error}: see that the file is there and that it may be read")
    return result.REFUSED


def _say(line: str) -> None:
    print(f"reprokit: {line}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
