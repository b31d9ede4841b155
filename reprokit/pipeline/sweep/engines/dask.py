"""The engine ``dask``: workers of a cluster, found by its scheduler, or of one that is made here for the sweep.

Dask runs a task at least once, and again when a worker dies; what counts is settled where the task is done (see
``claim``). So a task is never taken for done because Dask says so: its result is a few values, fetched and let go of
at once. Knows distributed; it does not know what a task does.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from reprokit.errors import ReprokitError, UsageError
from reprokit.pipeline.sweep.engines import Engine
from reprokit.pipeline.sweep.engines.dask_tasks import DaskExecutor, line
from reprokit.version import VERSION

__all__ = ["opened"]

_REACH_S = 15.0  # what a scheduler gets to answer
_APPEAR_S = 60.0  # what workers get to appear: those of a cluster that grows when it is used
_SET_TOO = ("PYTHONHASHSEED", "__DASK_PARENT_PID")  # variables, besides those that its settings name
_START = "`dask worker {address} --nthreads 1 --memory-limit 0{resources}` starts one"


@contextmanager
def opened(
    workers: int | None, book: Path | None, *, scheduler: str | None = None, resources: str | Mapping[str, float] = ""
) -> Iterator[Engine]:
    """Open the workers of a cluster.

    Args:
        workers: how many points at a time; all that fit by default.
        book: a folder that the workers must see; None: they need not.
        scheduler: the cluster's address; one is made on this machine by default.
        resources: what a point takes of its worker's resources, such as ``GPU=1``.

    Raises:
        UsageError: it cannot be reached, or no worker of it can do it.
    """
    distributed = _library()
    wanted = _resources(resources)
    if scheduler is None and wanted:
        remedy = "start a scheduler, and workers with `--resources`, and name it with --scheduler tcp://…"
        raise UsageError(f"the workers on this machine have no resources ({_shown(wanted)})", remedy=remedy)
    with _client(distributed, scheduler, workers) as client:
        names, slots = _fitting(client, scheduler, wanted, book)
        executor = DaskExecutor(client, wanted, names)
        try:
            yield Engine(executor=executor, slots=min(workers or slots, slots), stop=executor.stop)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            executor.stop()
            executor.settle()
            raise
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        remedy = "`pip install 'reprokit[dask]'`"
        raise UsageError(f"the engine dask needs the library distributed ({error})", remedy=remedy) from error
    return distributed


def _resources(told: str | Mapping[str, float]) -> dict[str, float]:
    """Return what is wanted of a worker.

    >>> _resources("GPU=1,MEMORY=2e9")
    {'GPU': 1.0, 'MEMORY': 2000000000.0}
    """
    if not isinstance(told, str):
        return {name: float(value) for name, value in told.items()}
    found = {}
    for part in filter(None, (part.strip() for part in told.replace(",", " ").split())):
        name, _, value = part.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = 0.0
        if not name or found[name] <= 0:
            raise UsageError(f"{part!r} is no resource", remedy="write --resources GPU=1") from None
    return found


def _shown(resources: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in resources.items())


# -- the cluster ----------------------------------------------------------------------------------


@contextmanager
def _client(distributed: Any, scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Yield a client of the scheduler, or of a cluster of this machine's that lasts as long as the block."""
    import dask

    with (
        _quiet(),
        dask.config.set({"distributed.admin.tick.limit": "1h", "distributed.comm.timeouts.connect": f"{_REACH_S}s"}),
    ):
        if scheduler is None:
            with _as_it_was({*dask.config.get("distributed.nanny.pre-spawn-environ"), *_SET_TOO}):
                cluster = _whole(lambda: _cluster(distributed, workers))
                with cluster, distributed.Client(cluster, set_as_default=False) as client:
                    yield client
            return
        _knock(scheduler)
        try:
            client = distributed.Client(scheduler, timeout=_REACH_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise _silent(scheduler, error) from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed from printing what is told as errors here, with its tracebacks."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _as_it_was(names: set[str]) -> Iterator[None]:
    """Put variables back in the end: a cluster sets those of its workers in this process, and leaves them there."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _knock(scheduler: str) -> None:
    """Pass when something listens there: distributed itself would try again and again."""
    scheme, _, rest = scheduler.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme in ("tcp", "tls") and host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
        except OSError as error:
            raise _silent(scheduler, error) from error


def _silent(scheduler: str, error: Exception) -> UsageError:
    remedy = "`dask scheduler` starts one and says its address, as tcp://HOST:8786"
    return UsageError(f"no scheduler answers at {scheduler} ({line(error)})", remedy=remedy)


def _cluster(distributed: Any, workers: int | None) -> Any:
    """Return a cluster of processes; a step's memory is not theirs, and each does one at a time."""
    return distributed.LocalCluster(
        n_workers=workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address=None,
        host="127.0.0.1",
        silence_logs=50,
    )


def _whole(make: Callable[[], Any]) -> Any:
    """Return a cluster that was made to its end, also when this process is asked to end meanwhile.

    It is made by a thread that Ctrl-C is kept from, as it then is from all that this starts: a terminal sends it to
    workers as well, and they are to do what the driver says.
    """
    with ThreadPoolExecutor(1, initializer=_deafen) as one:
        made = one.submit(make)
        try:
            return made.result()
        except Exception as error:
            remedy = "see whether this machine has memory and ports left, or use `--engine local`"
            raise ReprokitError(f"no Dask cluster can be started ({line(error)})", remedy=remedy) from error
        except BaseException:
            if made.exception() is None:
                made.result().close()
            raise


def _deafen() -> None:
    resource_tracker.ensure_running()  # when it is started it lets signals through, to the thread that starts it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


# -- its workers ----------------------------------------------------------------------------------


def _fitting(
    client: Any, scheduler: str | None, wanted: Mapping[str, float], book: Path | None
) -> tuple[list[str], int]:
    """Return the workers that can do it, and how many points they do at a time.

    Raises:
        UsageError: there is none.
    """
    address = scheduler or client.scheduler.address
    start = _START.format(address=address, resources=f' --resources "{_shown(wanted)}"' if wanted else "")
    try:
        client.wait_for_workers(1, timeout=_APPEAR_S)
    except TimeoutError as error:
        raise UsageError(f"the cluster at {address} has no workers", remedy=start) from error
    found = _workers(client)
    slots = {name: _slots(worker, wanted) for name, worker in found.items()}
    fit = [name for name, count in slots.items() if count]
    if not fit:
        have = sorted({_shown(worker["resources"]) or "none" for worker in found.values()})
        raise UsageError(
            f"none of the {len(found)} workers at {address} has {_shown(wanted)} (they have: {', '.join(have)})",
            remedy=start,
        )
    _check(client, fit, book)
    return fit, sum(slots.values())


def _workers(client: Any) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    except TypeError:  # before 2025.2 it tells all
        found = client.scheduler_info()["workers"]
    return found


def _slots(worker: Mapping[str, Any], wanted: Mapping[str, float]) -> int:
    """Return how many points a worker can do at a time."""
    have = worker["resources"]
    return int(min([worker["nthreads"], *(have.get(name, 0) // amount for name, amount in wanted.items())]))


def _check(client: Any, workers: list[str], book: Path | None) -> None:
    """Pass when all workers have this version of reprokit, and see the sweep's folder if they are to."""
    for name, version in client.run(eval, _VERSION_THERE, workers=workers, on_error="return").items():
        if isinstance(version, Exception):
            remedy = f"install reprokit {VERSION} where `dask worker` is started"
            raise UsageError(f"the worker {name} has no reprokit ({line(version)})", remedy=remedy)
        if version != VERSION:
            remedy = "install the same version in both places"
            raise UsageError(f"the worker {name} has reprokit {version}, and this is {VERSION}", remedy=remedy)
    for name, sees in client.run(_sees, str(book), workers=workers).items() if book is not None else ():
        if not sees:
            remedy = "name a remote with --remote, which brings code and data to workers without a shared disk"
            raise UsageError(f"the worker {name} does not see {book}", remedy=remedy)


_VERSION_THERE = (
    "__import__('reprokit.pipeline.sweep.place', fromlist=['place']) and __import__('reprokit').version.VERSION"
)


def _sees(path: str) -> bool:
    return Path(path).exists()
