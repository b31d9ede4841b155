"""Starts kernels with the agent inside, whatever their environment has installed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from reprokit.capture import launch
from reprokit.errors import UsageError
from reprokit.notebook.parent import carrying
from reprokit.notebook.ready import PatientClient

__all__ = ["AgentKernelManager", "python_of", "runtime_folder"]

_LAUNCHERS = (["-m", "ipykernel_launcher"], [str(Path(launch.__file__).resolve()), "kernel"])
_NAMES = {"python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info[:2])}
_POLL_S = 0.01  # how often a kernel that is ending is looked at; jupyter_client's own 0.1 is felt in a short run
_SOCKET_PATH = 90  # characters: a Unix socket's path may have 107, and its name needs some


def runtime_folder() -> Path:
    """Return where Jupyter writes how a kernel is reached, which the kernel reads."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


class _KernelSpecs(KernelSpecManager):  # type: ignore[misc]
    """Looks at Jupyter's own folders first: where IPython once kept kernels is known only by importing it (0.2 s)."""

    def _kernel_dirs_default(self) -> list[str]:
        from jupyter_core.paths import jupyter_path

        return list(jupyter_path("kernels"))

    def get_kernel_spec(self, kernel_name: str) -> Any:
        """Return the specification of a kernel.

        Raises:
            NoSuchKernel: there is none of this name.
        """
        try:
            return super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            self.kernel_dirs = super()._kernel_dirs_default()
            return super().get_kernel_spec(kernel_name)


class AgentKernelManager(AsyncKernelManager):  # type: ignore[misc]
    """A kernel manager that starts Python kernels through the agent's launcher.

    A kernel of another kind, or one that is started in an unusual way, starts as it always does:
    then only the parent's side of the run is recorded.
    """

    #: File with the agent's order; None starts a plain kernel.
    drive_path: Path | None = None
    #: File for what the kernel process itself says, such as why it crashed.
    log_path: Path | None = None
    #: File that says where the kernel finds what; see ``capture.namespace``.
    namespace_path: Path | None = None
    #: Whether the kernel's recorder is to impose conditions; see ``capture.conditions``.
    imposes: bool = False
    #: Interpreter to start instead of the kernelspec's own.
    python: Path | None = None
    #: Environment variables to set, or with None to take away.
    variables: Mapping[str, str | None] = {}  # replaced, never changed
    _sockets: str | None = None

    def _client_factory_default(self) -> type[PatientClient]:
        return PatientClient

    def _kernel_spec_manager_default(self) -> KernelSpecManager:  # asked for by its name
        return _KernelSpecs(parent=self)

    @property
    def has_agent(self) -> bool:
        """Whether the kernel's command is one that the agent can be put into."""
        return self.drive_path is not None and _launcher_at(self.kernel_spec.argv) is not None

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command line, with the launcher in place of ``ipykernel_launcher``."""
        command: list[str] = super().format_kernel_cmd(extra_arguments)
        at = _launcher_at(command)
        if self.has_agent and at is not None:
            command[at : at + 2] = [str(Path(launch.__file__).resolve()), "kernel"]
            if self.python is not None:
                command[0] = str(self.python)
        return command

    def use_ipc(self) -> None:
        """Talk over Unix sockets, where two kernels can never be given the same port."""
        folder = tempfile.mkdtemp(prefix=f"reprokit-{os.getpid()}-")
        if sys.platform == "win32" or len(folder) > _SOCKET_PATH:
            Path(folder).rmdir()
            return
        self.transport = "ipc"
        self.ip = str(Path(folder) / "kernel")  # absolute: the kernel may have another working directory
        self._sockets = folder

    def cleanup_ipc_files(self) -> None:
        """Remove the sockets and their folder."""
        super().cleanup_ipc_files()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    async def _async_start_kernel(self, **options: Any) -> None:
        environ = dict(options.pop("env", None) or os.environ)
        for name, value in self.variables.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value
        if self.has_agent:
            environ |= carrying(environ, self.drive_path or Path(), self.namespace_path, imposes=self.imposes)
        with (self.log_path or Path(os.devnull)).open("ab") as log:
            await super()._async_start_kernel(**{"stdout": log, "stderr": log, **options, "env": environ})

    start_kernel = _async_start_kernel

    async def _async_finish_shutdown(
        self, waittime: float | None = None, pollinterval: float = _POLL_S, restart: bool = False
    ) -> None:
        await super()._async_finish_shutdown(waittime=waittime, pollinterval=_POLL_S, restart=restart)

    finish_shutdown = _async_finish_shutdown


def _launcher_at(command: Sequence[str]) -> int | None:
    """Return where ``-m ipykernel_launcher``, or our own, stands in a command; options may come before it."""
    for at in range(len(command) - 1):
        if list(command[at : at + 2]) in _LAUNCHERS:
            return at
    return None


def python_of(kernel: str) -> Path:
    """Return the interpreter that a kernel is started with.

    Raises:
        UsageError: there is no such kernel.
    """
    try:
        command = _KernelSpecs().get_kernel_spec(kernel).argv
    except NoSuchKernel as error:
        remedy = f"`--kernel python3` uses {sys.executable}"
        raise UsageError(f"there is no kernel {kernel!r} on this machine", remedy=remedy) from error
    # As jupyter_client has it: a kernel that names no path means the python that starts it.
    return Path(sys.executable if command[0] in _NAMES else command[0])
