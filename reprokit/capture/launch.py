"""Starts a kernel or a script with this agent inside, in any environment: run it by path, not by name.

    python .../reprokit/capture/launch.py kernel -f CONNECTION_FILE …
    python .../reprokit/capture/launch.py script FILE ARGUMENTS…

The environment needs no reprokit of its own, and ``sys.path`` stays what it would have been. A kernel carries
the native recorder from its start: it is started anew with it, under the same process id, where it was not yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
AGAIN = "REPROKIT_LAUNCHED"


def load_agent() -> None:
    """Make ``import reprokit`` mean the package that this file belongs to."""
    spec = importlib.util.spec_from_file_location(
        "reprokit", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reprokit"] = module
    spec.loader.exec_module(module)


def carry_recorder() -> None:
    """Begin anew with the recorder in front of the C library; once, and only where there is one."""
    preload = runpy.run_path(str(PACKAGE / "capture" / "preload.py"))  # alone: this process may not live on
    if os.environ.pop(AGAIN, None) is None and not preload["is_carried"]():
        variables = preload["carried"](os.environ)
        if variables:
            os.execve(sys.executable, sys.orig_argv, {**os.environ, **variables, AGAIN: "1"})


def settle() -> None:
    """Find things where the parent process says, and do not outlive it; once."""
    namespace = runpy.run_path(str(PACKAGE / "capture" / "namespace.py"))  # alone, as the next
    namespace["enter_if_asked"]()
    parent = os.environ.pop(namespace["PARENT"], None)
    if parent is not None and sys.platform.startswith("linux"):
        namespace["die_with"](int(parent))


def main() -> None:
    """Run what the command line asks for in this process."""
    what, arguments = sys.argv[1], sys.argv[2:]
    settle()
    if what == "kernel":
        carry_recorder()
    del sys.path[0]  # the folder of this file, which Python put there
    load_agent()
    if what == "kernel":
        sys.argv[1:] = [*arguments, "--InteractiveShellApp.extra_extensions=reprokit"]
        sys.path.insert(0, "")  # as `python -m ipykernel_launcher` has it
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        importlib.import_module("reprokit.capture.script").main(arguments)


if __name__ == "__main__":
    main()
