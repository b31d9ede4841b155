"""The environment of the example notebooks: built from its lock with a warm cache, found again, beside plain uv."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import BIN, ROOT, Options, Row, at_most, interleaved, median, run, told, workspace

from reprokit.records import Environment
from reprokit.replay import environment, lock
from reprokit.store.objects import Objects

_PACKAGES = ("ipykernel", "joblib", "matplotlib", "pandas", "pyarrow", "scikit-learn")  # the extra `examples`
_OBSERVE = (
    "import json, sys; sys.path.append(sys.argv[1])\n"
    "from reprokit.capture.environment.environment import observe; print(json.dumps(observe().to_dict()))"
)


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        python = _plain(folder, folder / "recorded")
        done = subprocess.run([python, "-c", _OBSERVE, ROOT], capture_output=True, check=True, text=True, cwd="/")
        recorded = Environment.from_dict(json.loads(done.stdout))
        objects = Objects(folder / "objects")
        made = lock.make(recorded, objects)
        requirements = folder / "requirements.txt"
        requirements.write_text(made.requirements)

        def build() -> None:
            environment.build(made, objects, cache=folder / "built")

        def plain() -> None:
            _plain(folder, folder / "plain", "--require-hashes", "--no-deps", "-r", str(requirements))

        def empty() -> None:
            for name in ("built", "plain"):
                shutil.rmtree(folder / name, ignore_errors=True)

        times = interleaved({"build": build, "uv venv + uv pip install": plain}, options.repeats, before=empty)
        peers = f"{len(recorded.distributions)} packages; {told(times)}"
        yield at_most("locked environment, built with a warm cache", median(times["build"]), 5.0, "s", peers)
        build()
        again = interleaved({"reuse": build}, options.repeats * 3)
        yield at_most("locked environment, found again", median(again["reuse"]), 0.3, "s", told(again))


def _plain(folder: Path, target: Path, *arguments: str) -> str:
    """Make an environment as one does by hand; return its Python."""
    python = target / "bin" / "python"
    run([BIN / "uv", "venv", "--quiet", "--no-project", "--python", sys.executable, str(target)], folder)
    run([BIN / "uv", "pip", "install", "--quiet", "--python", python, *(arguments or _PACKAGES)], folder)
    return str(python)
