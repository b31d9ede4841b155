"""Face: ``with reprokit.run() as run:`` in a script or a notebook, and ``current_run()``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reprokit.capture import drive, notebook
from reprokit.capture.active import ActiveRun, plain_params
from reprokit.capture.fronts import ScriptFront
from reprokit.capture.request import Request
from reprokit.capture.session import Session
from reprokit.errors import UsageError

__all__ = ["current_run", "run"]

_open: list[ActiveRun] = []


@contextmanager
def run(
    name: str | None = None,
    *,
    seed: int | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
) -> Iterator[ActiveRun]:
    """Capture the block as one run.

    Args:
        name: a name for the run.
        seed: seeds everything at the start, and libraries that are imported later.
        params: parameters to record.
        tags: tags to record.
        config: configuration files to record by key.

    Raises:
        UsageError: a run is open already, or an argument has no meaning.
    """
    files = (config,) if isinstance(config, (str, os.PathLike)) else tuple(config)
    request = Request(
        name=name,
        kind="block",
        seed=seed,
        params=plain_params(params or {}),
        tags={key: str(value) for key, value in (tags or {}).items()},
        configs=tuple(Path(file) for file in files),
    )
    shell = _shell()
    with _in_script(request) if shell is None else _in_shell(shell, request) as active:
        _open.append(active)
        try:
            yield active
        finally:
            _open.remove(active)


def current_run() -> ActiveRun | None:
    """Return the run that is open in this process, however it was started; None when there is none."""
    if _open:
        return _open[-1]
    connected = notebook.of(_shell())
    return None if connected is None or connected.session is None else ActiveRun(connected.session)


def _shell() -> Any | None:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


@contextmanager
def _in_shell(shell: Any, request: Request) -> Iterator[ActiveRun]:
    connected = notebook.attach(shell)
    session = connected.start(request)
    status, reason = "failed", "the block raised"
    try:
        yield ActiveRun(session)
        status, reason = "done", ""
    finally:
        if connected.session is session:
            connected.stop(status, reason or None)


@contextmanager
def _in_script(request: Request) -> Iterator[ActiveRun]:
    if _open:
        raise UsageError(f"run {_open[-1].id} is open already", remedy="end its `with` block first")
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    order = drive.take()
    front = ScriptFront()
    session = Session(
        Request(
            name=request.name,
            kind=request.kind if order is None else order.kind,
            front="script",
            seed=request.seed,
            params=request.params,
            tags=request.tags,
            configs=request.configs,
            script=None if script is None else os.path.relpath(script),
            drive=order,
        ),
        lambda: vars(main),
        front.warn,
    )
    front.start(session)
    recorded_answers = order.cells[0].answers if order is not None and order.cells else ()
    front.begin(session.open_cell(_source(script), entered="inside"), recorded_answers)
    error: BaseException | None = None
    try:
        yield ActiveRun(session)
    except BaseException as raised:
        error = raised
        raise
    finally:
        _close(session, front, error)


def _close(session: Session, front: ScriptFront, error: BaseException | None) -> None:
    status = "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    said = None if error is None else f"{type(error).__name__}: {error}"
    session.close_cell(status, error=said)
    front.flush()
    session.stop(status, said)
    front.stop()


def _source(script: str | None) -> str:
    if script is None:
        return ""
    try:
        return Path(script).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
