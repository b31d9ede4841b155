"""One step as one process: ``python -m reprokit.step SPEC``.

SPEC is a JSON file, ``-`` for the standard input, or ``base64:`` and the document in URL-safe base64; ``--schema``
prints its form. The step inherits only the environment variables that its spec names and those that a program needs
to run (``reprokit.pipeline.surroundings.INHERITED``). On SIGTERM and SIGINT the kernel is interrupted and the record
closed before it ends.

Exit codes:
  0    done, or the results of an unchanged run were taken over
  1    a cell, or the script, failed
  2    could not run: the spec, a parameter or an input is wrong; nothing was run
  3    the kernel, or the script's process, died
  4    a cell, or the whole step, took longer than it was allowed
  5    it ran to its end and did not make a declared output
  75   could not run now: an environment could not be built, or the store cannot be written; try again
  130  stopped by SIGINT; its record is closed, and it can be run again
  143  stopped by SIGTERM; its record is closed, and it can be run again
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Perform the step that a command line names, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(__doc__ or "")
        return 0
    from reprokit.capture import namespace

    try:
        namespace.enter_if_asked()  # first of all: before anything of the project is read
    except OSError as error:
        sys.stderr.write(f"reprokit: the step cannot have a view of the project of its own ({error})\n")
        return 75
    from reprokit.pipeline import process

    if arguments == ["--schema"]:
        sys.stdout.write(process.schema())
        return 0
    if len(arguments) != 1 or (arguments[0].startswith("-") and arguments[0] != "-"):
        return process.refuse("give one spec: `python -m reprokit.step SPEC.json`; --help tells more")
    return process.main(arguments[0])


if __name__ == "__main__":
    if Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]  # the working directory: its modules must not hide others
    sys.exit(main())
