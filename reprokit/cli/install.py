"""``reprokit install`` and ``uninstall``: a kernel that captures everything, and the extension in every kernel.

Two things are put into an environment: the kernelspec "Python (reprokit)", whose kernels carry the native
recorder from their start, and a few marked lines in IPython's configuration that load the extension.
What was made is noted beside the kernelspec, so that ``uninstall`` leaves no trace and no changed byte.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import UsageError

__all__ = ["Place", "install", "uninstall"]

NAME = "reprokit"
_NOTE = "reprokit-install.json"
_BEGIN = b"# >>> reprokit install >>>\n"
_END = b"# <<< reprokit install <<<\n"
_LINES = b"""\
# Loads reprokit into every kernel; `reprokit uninstall` takes these lines out again.
import importlib.util as _reprokit
if _reprokit.find_spec("reprokit") is not None:
    get_config().InteractiveShellApp.extensions.append("reprokit")
    get_config().InteractiveShellApp.extra_extensions.append("reprokit")
del _reprokit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to install: the folder of the kernelspec, and IPython's configuration file."""

    name: str
    spec: Path
    config: Path

    @classmethod
    def of(cls, name: str, prefix: Path | None, user: bool) -> Place:
        """Return the place that the options stand for.

        Raises:
            UsageError: the name is none that Jupyter takes, or two places were asked for.
        """
        from jupyter_client.kernelspec import KernelSpecManager

        if re.fullmatch(r"[A-Za-z0-9._-]+", name) is None:
            raise UsageError(f"{name!r} is no kernel name", remedy="use letters, digits, '-', '.' and '_'")
        if user and prefix is not None:
            raise UsageError("--user and --prefix are two places", remedy="use one of them")
        if user:
            # IPython's own function for this makes the folder.
            folder = Path(os.environ.get("IPYTHONDIR") or "~/.ipython").expanduser().absolute() / "profile_default"
            kernels = Path(KernelSpecManager().user_kernel_dir)
        else:
            top = (prefix or Path(sys.prefix)).absolute()
            folder, kernels = top / "etc" / "ipython", top / "share" / "jupyter" / "kernels"
        # A link stays one: what it leads to is edited.
        return cls(name=name, spec=kernels / name.lower(), config=(folder / "ipython_config.py").resolve())


@dataclass(slots=True, kw_only=True)
class _Note:
    """What an installation made: folders, outermost first; the configuration file itself; a line's end in it."""

    folders: list[str] = field(default_factory=list)
    made_config: bool = False
    ended_line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do to a file or folder: "make", "write", "edit" or "remove"."""

    action: str
    path: str


def _options(command: Any) -> Any:
    for option in (
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--user", is_flag=True, help="For this user, instead of this environment."),
        click.option("--prefix", type=click.Path(path_type=Path), help="Another environment's folder."),
        click.option("--name", default=NAME, show_default=True, help="The kernel's name."),
        json_option,
    ):
        command = option(command)
    return command


@click.command()
@_options
def install(name: str, prefix: Path | None, user: bool, dry_run: bool, as_json: bool) -> int:
    """Add the kernel "Python (reprokit)", and load the extension in every kernel.

    Kernels of this name carry the native recorder from their start and so see every file. Both are put into
    the environment that this reprokit is in.
    """
    place = Place.of(name, prefix, user)
    note = _read_note(place)
    if note is None and place.spec.exists():
        remedy = "choose another with --name, or remove it with `jupyter kernelspec remove`"
        raise UsageError(f"there is a kernel {name!r} already that is not ours: {place.spec}", remedy=remedy)
    fresh, note = note is None, note or _Note()
    files = _spec_files(place)
    old = _read(place.config)
    new = _with_lines(old or b"", note) if _BEGIN not in (old or b"") else old
    actions = [Action(action="make", path=str(folder)) for folder in _missing(place)]
    actions += [Action(action="write", path=str(path)) for path, content in files.items() if _read(path) != content]
    if new != old:
        actions.append(Action(action="write" if old is None else "edit", path=str(place.config)))
    if actions and not dry_run:
        note.folders += [action.path for action in actions if action.action == "make"]
        note.made_config = note.made_config or old is None
        try:
            _carry_out(actions, {**files, place.config: new or b""}, place, note)
        except OSError as error:
            if fresh:
                _remove(place, note)
            raise _cannot(error, place) from error
    _tell(place, actions, dry_run, as_json, f'"{_display_name(name)}" is installed: choose it in Jupyter')
    return DONE


@click.command()
@_options
def uninstall(name: str, prefix: Path | None, user: bool, dry_run: bool, as_json: bool) -> int:
    """Remove what `reprokit install` added, with every trace of it."""
    place = Place.of(name, prefix, user)
    note = _read_note(place)
    if note is None and place.spec.exists():
        raise UsageError(
            f"the kernel {name!r} in {place.spec} is not ours", remedy="`jupyter kernelspec list` shows all"
        )
    actions = []
    if note is not None:
        actions.append(Action(action="remove", path=str(place.spec)))
    if _BEGIN in (_read(place.config) or b""):
        actions.append(Action(action="edit", path=str(place.config)))
    if actions and not dry_run:
        try:
            _remove(place, note or _Note())
        except OSError as error:
            raise _cannot(error, place) from error
    _tell(place, actions, dry_run, as_json, "uninstalled")
    return DONE


def _tell(place: Place, actions: Sequence[Action], dry_run: bool, as_json: bool, done: str) -> None:
    if as_json:
        document = {"name": place.name, "kernelspec": str(place.spec), "config": str(place.config)}
        emit_json({**document, "dry_run": dry_run, "actions": [asdict(action) for action in actions]})
        return
    for action in actions:
        click.echo(f"{'would ' if dry_run else ''}{action.action:<7} {action.path}")
    if not actions:
        click.echo("nothing to do")
    elif not dry_run:
        click.echo(done)


def _cannot(error: OSError, place: Place) -> UsageError:
    path = error.filename or place.spec
    remedy = "install for yourself with --user, or elsewhere with --prefix FOLDER"
    return UsageError(f"{path} cannot be written ({error.strerror})", remedy=remedy)


# -- the kernelspec -----------------------------------------------------------------------------------


def _display_name(name: str) -> str:
    return f"Python ({name})"


def _spec_files(place: Place) -> dict[Path, bytes]:
    """Return the kernelspec's files: ipykernel's own, but for the command and the name."""
    from ipykernel import kernelspec

    from reprokit.capture import launch

    spec = kernelspec.get_kernel_dict()
    command = list(spec["argv"])
    at = command.index("-m")
    command[at : at + 2] = [*_python_arguments(), str(Path(launch.__file__).resolve()), "kernel"]
    spec |= {"argv": command, "display_name": _display_name(place.name)}
    files = {place.spec / "kernel.json": (json.dumps(spec, indent=1) + "\n").encode()}
    for path in sorted(Path(kernelspec.RESOURCES).glob("logo-*")):
        files[place.spec / path.name] = path.read_bytes()
    return files


def _python_arguments() -> list[str]:
    """Return what lets debuggers step into modules that are frozen otherwise, as ipykernel has it."""
    return ["-Xfrozen_modules=off"] if sys.version_info >= (3, 11) else []


# -- the lines in IPython's configuration ---------------------------------------------------------------


def _with_lines(content: bytes, note: _Note) -> bytes:
    note.ended_line = content != b"" and not content.endswith(b"\n")
    return content + (b"\n" if note.ended_line else b"") + _BEGIN + _LINES + _END


def _without_lines(content: bytes, note: _Note) -> bytes:
    before, _, rest = content.partition(_BEGIN)
    after = rest.partition(_END)[2]
    if note.ended_line and not after:
        before = before.removesuffix(b"\n")
    return before + after


# -- files ------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_note(place: Place) -> _Note | None:
    content = _read(place.spec / _NOTE)
    return None if content is None else _Note(**json.loads(content))


def _missing(place: Place) -> list[Path]:
    """Return the folders to make, outermost first."""
    found = {
        folder for top in (place.spec, place.config.parent) for folder in (top, *top.parents) if not folder.exists()
    }
    return sorted(found, key=lambda folder: len(folder.parts))


def _carry_out(actions: Sequence[Action], contents: dict[Path, bytes], place: Place, note: _Note) -> None:
    for action in actions:
        if action.action == "make":
            Path(action.path).mkdir(exist_ok=True)
    _write(place.spec / _NOTE, json.dumps(asdict(note), indent=1).encode())
    for action in actions:
        if action.action != "make":
            _write(Path(action.path), contents[Path(action.path)])


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that is there keeps its rights."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _remove(place: Place, note: _Note) -> None:
    content = _read(place.config)
    if content is not None and _BEGIN in content:
        rest = _without_lines(content, note)
        if note.made_config and not rest:
            place.config.unlink()
        else:
            _write(place.config, rest)
    if place.spec.exists():
        shutil.rmtree(place.spec)
    for folder in reversed(note.folders):
        with suppress(OSError):  # somebody put something into it since
            Path(folder).rmdir()
