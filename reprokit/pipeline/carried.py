"""``python -m reprokit.pipeline.carried SPEC``: a step whose files come from, and go to, other places.

Where an orchestrator hands artifacts over at paths of its own, ``--take FILE FROM`` puts one where the step
reads it, and ``--give FILE TO`` brings one where it is fetched. The exit code is the step's.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

_REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Carry the files in, run the step as a process of its own, and carry out what it made.

    Args:
        argv: the arguments after the module's name; those of this process by default.
    """
    asked = _parser().parse_args(argv)
    try:
        for file, source in asked.take:
            _copy(Path(source), Path(file))
    except OSError as error:
        return _refuse(error)
    code = subprocess.run([sys.executable, "-m", "reprokit.step", asked.spec], check=False).returncode
    if code != 0:
        return code if code > 0 else 128 - code
    try:
        for file, target in asked.give:
            _copy(Path(file), Path(target))
    except OSError as error:
        return _refuse(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reprokit.pipeline.carried", description="Run one step.")
    parser.add_argument("spec", help="what `python -m reprokit.step` is given")
    for word, what in (("--take", "put FROM here before the step"), ("--give", "bring this to TO after it")):
        names = ("FILE", "FROM" if word == "--take" else "TO")
        parser.add_argument(word, nargs=2, action="append", default=[], metavar=names, help=what)
    return parser


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, and make the folder that it goes into."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _refuse(error: OSError) -> int:
    print(f"reprokit: {error}: see that the file is there and that it may be read", file=sys.stderr)  # noqa: T201
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
