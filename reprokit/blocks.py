"""Face: ``with reprokit.run() as run:`` in a script or a notebook, and ``current_run()``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit.capture import drive, notebook, script
from reprokit.capture.active import ActiveRun, plain_params
from reprokit.capture.request import Request
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
    if script.whole:
        return ActiveRun(script.whole[0])
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
    if script.whole:
        with _in_whole_script(request) as joined:
            yield joined
        return
    if _open:
        raise UsageError(f"run {_open[-1].id} is open already", remedy="end its `with` block first")
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    order = drive.take()
    asked = replace(
        request,
        kind=request.kind if order is None else order.kind,
        front="script",
        script=None if path is None else os.path.relpath(path),
        drive=order,
    )
    opened = script.begin(asked, lambda: vars(main), script.source(path), entered="inside", order=order)
    error: BaseException | None = None
    try:
        yield ActiveRun(opened.session)
    except BaseException as raised:
        error = raised
        raise
    finally:
        opened.close(*_ending(error))


@contextmanager
def _in_whole_script(request: Request) -> Iterator[ActiveRun]:
    """The whole script is a run already: the block says what it has to say of that one."""
    session = script.whole[0]
    said: dict[str, Any] = {"params": dict(request.params), "tags": dict(request.tags)}
    session.say(**{key: item for key, item in said.items() if item})
    if request.name is not None:
        session.say(name=request.name)
    if request.seed is not None:
        session.seed(request.seed)
    for file in request.configs:
        session.add_config(file)
    yield ActiveRun(session)


def _ending(error: BaseException | None) -> tuple[str, str | None]:
    status = "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    return status, None if error is None else f"{type(error).__name__}: {error}"
