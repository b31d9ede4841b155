"""The remote probe: data that cells get from, and send to, other machines.

Libraries are watched where they hand the data out (``http``, ``storage``, ``queries``); those that fetch in
C or Rust, where the bytes never pass through Python, are watched where they are told what to fetch
(``foreign``). It looks and never asks: no request is made that the cell did not make itself.
"""

from __future__ import annotations

import os

from reprokit.capture.probe import Context, Patch
from reprokit.capture.remote.foreign import Foreign
from reprokit.capture.remote.hooks import Hooks
from reprokit.capture.remote.http import Http
from reprokit.capture.remote.ledger import Ledger, Use
from reprokit.capture.remote.queries import Queries
from reprokit.capture.remote.storage import Storage
from reprokit.records import Gap

__all__ = ["Remote"]

_NAMED = 3  # addresses that one line names
_TOLD = 10_000  # addresses; beyond it, the record alone tells
_KEPT = 32  # earlier cells that may still be told more of


class Remote:
    """Records the remote data of each cell."""

    aspect = "remote"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pid = os.getpid()
        self._ledger = Ledger(0)
        self._open: list[Ledger] = []  # of earlier cells, while more may come
        self._told: set[tuple[str, str]] = set()
        self._hooks = Hooks(context.later)
        self._failed = False
        self._stopped = False
        parts = (Http, Storage, Queries, Foreign)
        self._installers = {
            name: install for part in parts for name, install in part(self._hooks, self._note).installers().items()
        }

    def start(self) -> Patch | None:
        """Hook the libraries that are loaded, and each one that is imported later."""
        self._hooks.install(self._installers)
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Begin a cell's ledger."""
        last = self._ledger
        if last.is_empty():
            last.seq = seq
            return None
        self._ledger = Ledger(seq)
        if last.seq not in (0, seq):
            self._follow(last)
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Tell what the cell used; what is still on its way is told when it came."""
        if self._open:
            self._catch_up()
        if self._hooks.error is not None and not self._failed:
            self._failed = True
            self._gap(seq, f"remote data could not be observed ({self._hooks.error!r})", "please report this")
        ledger = self._ledger
        if ledger.is_empty() or not ledger.changed():
            return None
        self._tell(ledger)
        if ledger.is_owing():
            self._context.later(lambda: self._tell_again(ledger))
        return Patch(add={"remote": ledger.records()})

    def stop(self) -> Patch | None:
        """Take off all hooks."""
        self._hooks.remove()
        self._stopped = True  # a hook below somebody else's stays, and does nothing
        self._catch_up()
        self._follow(self._ledger)
        return None

    def _note(self, use: Use) -> None:
        """Take a use from any thread; one that is made on behalf of another belongs to that."""
        if self._stopped or os.getpid() != self._pid:
            return
        whole = self._hooks.whole
        if whole is None:
            self._ledger.add(use)
        else:
            whole.hear(use)

    def _catch_up(self) -> None:
        """Tell what became known of earlier cells since."""
        ledgers, self._open = self._open[-_KEPT:], []
        for ledger in ledgers:
            self._follow(ledger)

    def _follow(self, ledger: Ledger) -> None:
        """Tell what became known of an earlier cell, and keep an eye on it while more may come."""
        self._tell_again(ledger)
        if ledger.is_owing():
            self._context.later(lambda: self._tell_again(ledger))
        if not ledger.is_settled():
            self._open.append(ledger)

    def _tell_again(self, ledger: Ledger) -> None:
        if ledger.seq and ledger.changed():
            self._context.emit(ledger.seq, Patch(set={"remote": ledger.records()}))
            self._tell(ledger)

    # -- what would keep a replay from being exact ----------------------------------------------

    def _tell(self, ledger: Ledger) -> None:
        """Say now what would matter to a replay later; each address once in a run."""
        for standing, (words, remedy) in _WORDS.items():
            addresses = ledger.sent() if standing == "sent" else ledger.standing(standing)
            room = _TOLD - len(self._told)
            new = [address for address in addresses if (standing, address) not in self._told][:room]
            self._told.update((standing, address) for address in new)
            if new:
                self._gap(ledger.seq, words.format(_named(new)), remedy, blocks=standing == "none")

    def _gap(self, seq: int, message: str, remedy: str, *, blocks: bool = False) -> None:
        self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq, blocks=blocks))


_KEEP = "save it to a file in the project and read that, so that its bytes are kept"
_WORDS = {
    "none": ("read {} without a version, and its bytes were not seen: nothing tells which they were", _KEEP),
    "digest": ("read {} without a version: a replay reads it again, and can only tell whether it is the same", _KEEP),
    "version": ("read {}: a replay reads it again, and needs this version of it to be there", _KEEP),
    "sent": ("sent data to {}: a replay sends it again", "send it elsewhere while you replay, if that matters"),
}


def _named(addresses: list[str]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(addresses[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
