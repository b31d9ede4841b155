"""reprokit: capture what a notebook session really did, replay it tomorrow, and prove it is the same.

In a notebook ``%load_ext reprokit`` and ``%repro start``; in a script ``with reprokit.run() as run:``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reprokit.version import VERSION as __version__

if TYPE_CHECKING:
    from pathlib import Path

    from reprokit.blocks import current_run, run
    from reprokit.store.store import Store

__all__ = [
    "__version__",
    "current_run",
    "load_ipython_extension",
    "open_store",
    "run",
    "unload_ipython_extension",
]


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext reprokit``: connect the shell and register ``%repro``."""
    from reprokit import magics

    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext reprokit``: stop the open run and disconnect the shell."""
    from reprokit import magics

    magics.unload(shell)


def open_store(start: Path | None = None) -> Store:
    """Return the store of the project that contains ``start`` (the working directory by default)."""
    from reprokit.store.store import Store

    return Store.open(start)


def __getattr__(name: str) -> Any:
    # Imported when first used: in a kernel, where time counts, neither may ever be.
    if name in ("run", "current_run"):
        from reprokit import blocks

        return getattr(blocks, name)
    raise AttributeError(f"module 'reprokit' has no attribute {name!r}")
