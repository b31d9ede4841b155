"""Runs notebooks through papermill, with the agent in the kernel and a record on both sides.

``plugin`` registers it as ``papermill.engine: reprokit``, so ``papermill --engine reprokit`` captures too.
Papermill marks cells that never ran as completed when a kernel dies; here that is put right, and a
status is never read back from papermill's metadata.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.log import logger

from reprokit.capture import redact
from reprokit.errors import UsageError
from reprokit.notebook.checkpoint import Checkpoints, NotRestored
from reprokit.notebook.kernel import AgentKernelManager
from reprokit.notebook.parent import NO_AGENT, Order, ParentRecord, Progress, silent
from reprokit.records import Run
from reprokit.store.store import Store

__all__ = ["CapturingClient", "Ending", "Engine", "execute", "run_notebook"]

Ending = Literal["ended", "failed", "died", "timed out"]  # all cells ran; one raised; the kernel; a cell's time

_FINISH = "__import__('reprokit.capture.notebook', fromlist=['finish']).finish()"
_AFTER_INTERRUPT_S = 10  # what an interrupted kernel gets to finish its record
_SAVE_EVERY_S = 1.0  # how far the notebook on disk may lag behind; the record is written at once


class CapturingClient(PapermillNotebookClient):  # type: ignore[misc]
    """A notebook client whose kernel carries the agent."""

    def __init__(self, manager: Any, record: ParentRecord, **traits: Any) -> None:
        super().__init__(manager, **traits)
        self.record = record
        order = record.order
        if order.cwd is not None:
            self.resources = {"metadata": {"path": str(order.cwd)}}
        if order.keep_going:
            self.allow_errors = True
        self._total = sum(self._runs(cell) for cell in self.nb.cells)
        self._done = 0
        self._checkpoints = Checkpoints(order, self._ask)
        self._save = self.nb_man.save
        self._saved = 0.0
        self.nb_man.save = self._save_seldom

    def create_kernel_manager(self) -> Any:
        """Make the kernel manager that puts the agent into the kernel."""
        order = self.record.order
        manager = AgentKernelManager(kernel_name=self.kernel_name, config=self.config)
        manager.drive_path = self.record.drive_path
        manager.log_path = self.record.log_path
        manager.python = order.python
        manager.variables = order.variables
        manager.namespace_path = self.record.namespace_path
        manager.imposes = order.imposes
        manager.use_ipc()
        self.km = manager
        return manager

    def execute_cell(self, cell: Any, cell_index: int, *args: Any, **options: Any) -> Any:
        """Execute a cell and record how it went."""
        if not self._runs(cell):
            return self._execute(cell, cell_index, *args, **options)
        if self._checkpoints.stands_for(self._done + 1):
            self._done += 1
            return self._checkpoints.fill(cell, self._done)
        self.record.order.progress("running cells", self._done, self._total)
        self.record.begin_cell(cell.source)
        seq, began = self.record.seq, monotonic()
        result = self._execute(cell, cell_index, *args, **options)
        self._done += 1
        self.record.end_cell("done")
        if seq is not None and not self.record.has_agent_record:
            self.record.outputs(seq, [dict(output) for output in cell.outputs])
        elif seq is not None and self._done < self._total:
            self._checkpoints.after(cell, seq, monotonic() - began)
        return result

    def _execute(self, *args: Any, **options: Any) -> Any:
        from jupyter_core.utils import run_sync

        return run_sync(self._execute_and_save)(*args, **options)

    async def _execute_and_save(self, *args: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(_heard)
        later = asyncio.get_running_loop().call_later(_SAVE_EVERY_S, self._save_seldom)
        try:
            return await self.async_execute_cell(*args, **options)
        finally:
            later.cancel()

    def _save_seldom(self, **options: Any) -> None:
        """Save the notebook for those who watch it: papermill would write all of it twice for each cell."""
        if monotonic() - self._saved >= _SAVE_EVERY_S:
            self._save(**options)
            self._saved = monotonic()

    def papermill_execute_cells(self) -> None:
        """Execute all cells, and let the agent finish its record before the kernel is ended."""
        try:
            if self.record.has_agent_record or self.record.order.restored is not None:
                self._checkpoints.begin()
            super().papermill_execute_cells()
        except CellTimeoutError:
            self._interrupt()
            raise
        except DeadKernelError:
            raise
        except BaseException:
            self._interrupt()
            raise
        self.record.order.progress("running cells", self._total, self._total)
        self._finish_agent(timeout=None)

    def _runs(self, cell: Any) -> bool:
        tags = cell.metadata.get("tags", [])
        return bool(cell.cell_type == "code" and cell.source.strip() and self.skip_cells_with_tag not in tags)

    def _interrupt(self) -> None:
        """End the cell that runs, so that the agent can close its record."""
        from jupyter_core.utils import run_sync

        run_sync(self.km.interrupt_kernel)()
        self._finish_agent(timeout=_AFTER_INTERRUPT_S)

    def _finish_agent(self, timeout: int | None) -> None:
        if self.record.has_agent_record:
            self.timeout = timeout
            try:
                asked = self.kc.execute(_FINISH, silent=True, store_history=False)
                self.wait_for_reply(asked, new_code_cell(_FINISH))  # a cell that timed out is told by its source
            except (CellTimeoutError, DeadKernelError):
                pass  # the parent's record says how the run ended

    def _ask(self, code: str) -> str | None:
        """Have the agent do something between two cells, however long it takes; return why it failed."""
        limit: Any = self.timeout
        self.timeout = None
        try:
            asked = self.kc.execute(code, silent=True, store_history=False)
            reply = self.wait_for_reply(asked, new_code_cell(code))
        finally:
            self.timeout = limit
        content = {} if reply is None else reply["content"]
        return None if content.get("status") == "ok" else str(content.get("evalue") or "the kernel did not answer")


def _heard(task: asyncio.Task[Any]) -> None:
    """Take note of how a cell ended that nobody waits for any more, since the whole run is to end."""
    if not task.cancelled():
        task.exception()


class Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine ``reprokit``."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, **options: Any) -> Any:
        """Execute a notebook; when it is cut off (kernel, time, a signal), say so in the notebook as well."""
        try:
            return super().execute_notebook(nb, kernel_name, output_path=output_path, **options)
        except (DeadKernelError, CellTimeoutError, KeyboardInterrupt):
            _repair(nb)
            if output_path is not None:
                from papermill.iorw import write_ipynb

                write_ipynb(nb, output_path)
            raise

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        reprokit: Order | None = None,
        **options: Any,
    ) -> Any:
        """Execute the notebook and record the run.

        Args:
            nb_man: papermill's notebook manager.
            kernel_name: the kernel to start.
            log_output: whether outputs are logged.
            stdout_file: where standard output is copied to.
            stderr_file: where standard error is copied to.
            start_timeout: seconds the kernel has to start.
            execution_timeout: seconds that one cell may take.
            reprokit: what is to be recorded, and how; made from the notebook when it is not given.
            options: further traits of ``nbclient.NotebookClient``.
        """
        order = reprokit or _plain_order(nb_man.nb, options.get("input_path"))
        traits = {key: item for key, item in options.items() if key not in ("input_path", "timeout", "startup_timeout")}
        record = ParentRecord(order)
        status: str = "interrupted"
        reason: str | None = "stopped before its end"
        try:
            client = CapturingClient(
                nb_man,
                record,
                timeout=execution_timeout or options.get("timeout"),
                startup_timeout=start_timeout,
                kernel_name=kernel_name,
                log=logger,
                log_output=log_output,
                stdout_file=stdout_file,
                stderr_file=stderr_file,
                **traits,
            )
            try:
                result = client.execute()
            finally:
                del nb_man.save  # whatever papermill still has to say is the last word
            status, reason = _outcome(nb_man.nb, order)
            return result
        except DeadKernelError as error:
            said = record.last_words()
            reason = f"the kernel died while cell {record.seq} ran" + (f": {said}" if said else "")
            _mark(nb_man.nb, record, error)
            raise
        except RuntimeError as error:
            if record.seq is not None:
                raise
            said = record.last_words()
            reason = "the kernel did not start" + (f": {said}" if said else f" ({error})")
            raise DeadKernelError(reason) from error
        except CellTimeoutError as error:
            reason = f"cell {record.seq} took longer than it was allowed"
            _mark(nb_man.nb, record, error)
            raise
        except KeyboardInterrupt as error:
            reason = str(error) or reason
            _mark(nb_man.nb, record, error)
            raise
        except NotRestored as error:
            status, reason = "failed", str(error)
            raise
        finally:
            record.end_cell("interrupted" if status == "interrupted" else "failed", reason)
            if not record.has_agent_record:
                record.gap(NO_AGENT)
            record.close(status, reason)


def _outcome(notebook: Any, order: Order) -> tuple[str, str | None]:
    """Return status and reason from the outputs themselves."""
    counts = notebook.cells
    if order.keep_going:
        counts = counts[-1:] if order.ends_in_error else []
    for cell in counts:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and (output.ename, output.evalue) not in _CLEAN_EXITS:
                return "failed", f"{output.ename}: {output.evalue}"
    return "done", None


_CLEAN_EXITS = {("SystemExit", ""), ("SystemExit", "0")}


def _mark(notebook: Any, record: ParentRecord, error: BaseException) -> None:
    """Note in the notebook which of its cells was the last to run."""
    ran = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            ran += 1
            if ran == (record.seq or 0):
                said = (str(error) or type(error).__name__).splitlines()[0]
                known = notebook.metadata.get("reprokit", {})
                notebook.metadata["reprokit"] = {**known, "stopped_at": index, "reason": said}


def _repair(notebook: Any) -> None:
    """Say the truth in papermill's metadata: what ran, what failed, what never ran."""
    stopped = notebook.metadata.get("reprokit", {}).get("stopped_at")
    notebook.metadata.setdefault("papermill", {})["exception"] = True
    for index, cell in enumerate(notebook.cells):
        if stopped is not None and index >= stopped and "papermill" in cell.metadata:
            failed = index == stopped
            cell.metadata["papermill"].update(status="failed" if failed else "pending", exception=failed or None)


def _plain_order(notebook: Any, input_path: str | None) -> Order:
    """Return the order for a notebook that papermill was asked to run by somebody else."""
    store = Store.open()
    params = notebook.metadata.get("papermill", {}).get("parameters", {})
    header: dict[str, Any] = {"params": {key: redact.value(key, value) for key, value in params.items()}}
    if input_path and Path(input_path).exists():
        header["notebook"] = _relative(Path(input_path), store)
    return Order(store=store, header=header, variables=fixed_hash_seed())


def fixed_hash_seed() -> dict[str, str | None]:
    """Return PYTHONHASHSEED for a new kernel: as random as ever, but known, unless it is fixed already."""
    return {} if "PYTHONHASHSEED" in os.environ else {"PYTHONHASHSEED": str(secrets.randbelow(2**32))}


def _relative(path: Path, store: Store) -> str:
    resolved = path.resolve()
    project = store.layout.project.resolve()
    return resolved.relative_to(project).as_posix() if resolved.is_relative_to(project) else str(resolved)


def run_notebook(
    store: Store,
    notebook: Path,
    *,
    params: Mapping[str, Any] | None = None,
    output: Path | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    timeout: int | None = None,
    kernel: str | None = None,
    progress: Progress = silent,
) -> Run:
    """Execute a notebook from top to bottom in its own folder, as one captured run.

    Args:
        store: where the run is recorded.
        notebook: the notebook.
        params: parameters, checked already.
        output: where the executed notebook is written; nowhere when None.
        name: a name for the run.
        tags: tags to record.
        timeout: seconds that one cell may take.
        kernel: kernel to use instead of the notebook's own.
        progress: told of each cell.

    Returns:
        The run; its status says how it ended.

    Raises:
        UsageError: the notebook or its kernel does not exist.
    """
    run_ids: list[str] = []
    order = Order(
        store=store,
        header={
            "name": name,
            "notebook": _relative(notebook, store),
            "params": dict(params or {}),
            "tags": dict(tags or {}),
        },
        cwd=notebook.resolve().parent,
        variables=fixed_hash_seed(),
        progress=progress,
        opened=run_ids.append,
    )
    execute(notebook, output, order, params=params, timeout=timeout, kernel=kernel)
    return store.load(run_ids[0])


def execute(
    notebook: Path,
    output: Path | None,
    order: Order,
    *,
    params: Mapping[str, Any] | None = None,
    timeout: int | None = None,
    kernel: str | None = None,
) -> Ending:
    """Execute a notebook file by an order; how it ended is in the record, and in short what is returned.

    Raises:
        UsageError: the kernel does not exist.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillExecutionError

    from reprokit.notebook import injected

    try:
        papermill.execute_notebook(
            _literal(notebook),
            None if output is None else _literal(output),
            parameters=dict(params or {}),
            engine_name="reprokit",
            kernel_name=kernel or _kernel_of(notebook),
            language=injected.use(),
            progress_bar=False,
            execution_timeout=timeout,
            reprokit=order,
        )
    except PapermillExecutionError:
        return "failed"
    except DeadKernelError:
        return "died"
    except CellTimeoutError:
        return "timed out"
    except NoSuchKernel as error:
        remedy = f"`--kernel python3` uses {sys.executable}"
        raise UsageError(f"there is no kernel {error.name!r} on this machine", remedy=remedy) from error
    return "ended"


def _kernel_of(notebook: Path) -> str:
    import nbformat

    content = nbformat.read(notebook, as_version=4)
    return str(content.metadata.get("kernelspec", {}).get("name") or "python3")


def _literal(path: Path) -> str:
    """Return a path that papermill, which formats paths with the parameters, leaves as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")
