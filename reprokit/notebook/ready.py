"""When a new kernel is ready for the first cell.

While a kernel starts it is asked each second whether it is there, and answers all of it at once when it is. ipykernel
7.0 to 7.3 can overlook a request that comes while it sends an answer, and every later one, until somebody new connects
(https://github.com/ipython/ipykernel/issues/1554): so the first cell waits until all these answers have come.
"""

from __future__ import annotations

from queue import Empty
from time import monotonic
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient

__all__ = ["PatientClient"]

_SILENCE_S = 1.0  # a kernel that owes an answer is woken after so long


class PatientClient(AsyncKernelClient):  # type: ignore[misc]
    """A client that begins once its kernel has answered everything it was asked."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._asked: list[str] = []
        self._answered: str | None = None
        self._wakers: list[Any] = []

    def kernel_info(self, *args: Any, **options: Any) -> Any:
        """Ask the kernel what it is."""
        if self._asked and self._answered is None:  # it did not answer for a second
            self._wake()
        asked = super().kernel_info(*args, **options)
        self._asked.append(asked)
        return asked

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel runs, and owes no answer.

        Raises:
            RuntimeError: it does not run within that many seconds, or ended.
        """
        until = None if timeout is None else monotonic() + timeout
        try:
            await super().wait_for_ready(timeout)
            while self._answered != self._asked[-1] and (until is None or monotonic() < until):
                await self._hear()
        finally:
            for waker in self._wakers:
                waker.close(linger=0)
            self._wakers.clear()

    async def _hear(self) -> None:
        try:
            self._answered = (await self.get_shell_msg(timeout=_SILENCE_S))["parent_header"].get("msg_id")
        except Empty:
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info") from None
            self._wake()

    def _wake(self) -> None:
        """Connect once more: that makes the kernel look at what it has been sent."""
        self._wakers.append(self.connect_shell())

    def _handle_kernel_info_reply(self, message: dict[str, Any]) -> None:
        self._answered = message["parent_header"].get("msg_id")
        super()._handle_kernel_info_reply(message)
