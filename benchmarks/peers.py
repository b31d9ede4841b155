"""The same work under reprokit and under its peers, each beside the plain script in an environment of its own.

A peer's environment is made below ``build/peers`` at the first use, from the package index. What is compared
is the time of the whole process; what each one records of it is not the same (see README.md).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import BIN, ROOT, Options, Row, git, interleaved, paired_ratio, run, told, workspace

_WORK = ROOT / "benchmarks" / "peer_work"
_LIBRARIES = ("pandas", "scikit-learn", "setuptools<81")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How the work is run under one tool: ``command`` follows the environment's ``bin``; ``setup`` is run once."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    setup: tuple[tuple[str, ...], ...] = ()


_PEERS = (
    Peer(name="DVCLive", packages=("dvclive",), command=("python", "under_dvclive.py")),
    Peer(name="MLflow, autolog", packages=("mlflow",), command=("python", "under_mlflow.py")),
    Peer(name="noWorkflow", packages=("noworkflow",), command=("now", "run", "work.py")),
    Peer(name="Sacred", packages=("sacred",), command=("python", "under_sacred.py")),
    Peer(
        name="Sumatra",
        packages=("sumatra", "gitpython"),
        command=("smt", "run"),
        setup=(
            ("smt", "init", "work"),
            ("smt", "configure", "--executable={bin}/python", "--main=work.py", "--on-changed=store-diff"),
        ),
    ),
    Peer(name="W&B, offline", packages=("wandb",), command=("python", "under_wandb.py")),
)


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        ours = _project(folder / "reprokit", Path(sys.executable))
        action = partial(run, [BIN / "python", "under_reprokit.py"], ours)
        yield _row("reprokit", ours, BIN, action, options)
        for peer in _PEERS:
            yield _peer(peer, folder, options)


def _peer(peer: Peer, folder: Path, options: Options) -> Row:
    """Measure one peer; one that does not install or run here is a row that says so."""
    try:
        bin_folder = _environment(peer)
        place = _project(folder / peer.command[-1].replace("/", "-") / peer.packages[0], bin_folder / "python")
        for arguments in peer.setup:
            run(_command(bin_folder, arguments), place, PATH=_path(bin_folder))
        action = partial(run, _command(bin_folder, peer.command), place, PATH=_path(bin_folder))
        return _row(peer.name, place, bin_folder, action, options)
    except RuntimeError as error:
        return Row(what=f"work under {peer.name}", measured="does not run here", peers=str(error).splitlines()[-1])


def _row(name: str, place: Path, bin_folder: Path, action: Callable[[], None], options: Options) -> Row:
    plain = partial(run, [bin_folder / "python", "work.py"], place)
    times = interleaved({"plain": plain, name: action}, options.repeats)
    ratio = paired_ratio(times[name], times["plain"])
    return Row(what=f"work under {name}", measured=f"{ratio:.2f} ×", peers=told(times))


def _environment(peer: Peer) -> Path:
    place = ROOT / "build" / "peers" / peer.packages[0]
    if not (place / "ready").exists():
        run([BIN / "uv", "venv", "--quiet", "--clear", "--python", sys.executable, place], ROOT)
        install = [BIN / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", place / "bin" / "python"]
        run([*install, *_LIBRARIES, *peer.packages], ROOT)
        (place / "ready").touch()
    return place / "bin"


def _command(bin_folder: Path, arguments: tuple[str, ...]) -> list[str | Path]:
    return [bin_folder / arguments[0], *(each.replace("{bin}", str(bin_folder)) for each in arguments[1:])]


def _path(bin_folder: Path) -> str:
    return f"{bin_folder}:/usr/local/bin:/usr/bin:/bin"


def _project(place: Path, python: Path) -> Path:
    shutil.copytree(_WORK, place, ignore=shutil.ignore_patterns("__pycache__"))
    run([python, "data.py"], place)
    git(place, "init", "--quiet")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=start")
    return place
