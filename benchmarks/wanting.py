"""What a notebook that nobody here wrote lacks to be run here: another language, a package, its data, the network.

It knows notebooks and what their cells raised; it does not know how they are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat

__all__ = ["foreign", "lacking"]

_NETWORK = ("URLError", "ConnectionError", "gaierror", "MaxRetryError", "ConnectTimeout", "SSLError", "ProxyError")


def foreign(path: Path) -> str:
    """Return why a notebook is none that Python runs, or nothing."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # whatever is in a public file
        return f"no notebook: {type(error).__name__}"
    info = notebook.metadata.get("kernelspec", {})
    language = str(info.get("language", notebook.metadata.get("language_info", {}).get("name", "python")))
    return "" if language.lower().startswith("python") else f"written in {language}"


def lacking(errors: Sequence[str], cells: int) -> str:
    """Return what a notebook would have needed, when for want of it much of it could not run; else nothing.

    Args:
        errors: what its cells raised, each ``Name: message``.
        cells: how many it has.
    """
    if 4 * len(errors) <= cells:
        return ""
    for error in errors:
        if error.startswith("ModuleNotFoundError"):
            return f"needs a package: {error.partition(': ')[2]}"
        if error.startswith("FileNotFoundError"):
            return f"needs data that does not come with it: {error.partition(': ')[2]}"
        if error.startswith(_NETWORK):
            return f"needs the network: {error}"
    return ""
