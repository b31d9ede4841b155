"""What a Jupyter kernel asks its user, and what they answer, heard from its messages alone.

``input()`` and ``getpass()`` themselves are left as they are, so that a traceback that leads through them
is the one it would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reprokit.capture import swallowed

__all__ = ["Questions"]

_END = "\x04"  # what a front end answers for "no more": `input()` raises EOFError


class Questions:
    """Listens to the answers that a kernel receives.

    Args:
        session: the kernel's ``jupyter_client.session.Session``.
        answered: called with each answer that is no password.
        password_asked: called when a password is asked for.
    """

    def __init__(self, session: Any, answered: Callable[[str], None], password_asked: Callable[[], None]) -> None:
        self._session = session
        self._answered = answered
        self._password_asked = password_asked
        self._receive = session.recv
        self._secret = False

    def start(self) -> None:
        """Begin to listen."""
        self._session.recv = self._listening_receive

    def stop(self) -> None:
        """Stop listening."""
        if self._session.__dict__.get("recv") == self._listening_receive:
            del self._session.recv

    def asked(self, content: dict[str, Any]) -> None:
        """Hear a question as it is sent."""
        self._secret = bool(content.get("password"))
        if self._secret:
            self._password_asked()

    def _listening_receive(self, *args: Any, **kwargs: Any) -> Any:
        received = self._receive(*args, **kwargs)
        try:
            self._hear(received[1])
        except Exception as error:  # the user's answer came; that it could not be recorded must not lose it
            swallowed.keep("outputs", error)
        return received

    def _hear(self, message: dict[str, Any] | None) -> None:
        if message is None or message["header"]["msg_type"] != "input_reply" or self._secret:
            return
        answer = message["content"]["value"]
        if answer != _END:
            self._answered(answer)
