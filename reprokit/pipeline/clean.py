"""What a pipeline watches: a notebook's code alone, and what is installed. Pure, but for ``refresh``.

Jupyter rewrites outputs, counts and metadata each time a notebook is saved. A pipeline that watches the file itself
would run again for nothing, so it watches this. ``refresh`` runs each time that the pipeline is looked at: it imports
no more than it needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.records import Environment

__all__ = ["ENVIRONMENT", "cleaned", "installed", "place", "refresh"]

ENVIRONMENT = "environment.txt"  # beside the notebooks' code
_OWN_KERNELS = (None, "", "python3")


def cleaned(notebook: Mapping[str, Any]) -> bytes:
    """Return a notebook with its code cells and their tags only, the same bytes for the same code.

    >>> cell = {"cell_type": "code", "source": "x = 1", "metadata": {}, "id": "a", "execution_count": 3}
    >>> cleaned({"cells": [cell]}) == cleaned({"cells": [{**cell, "id": "b", "execution_count": None}]})
    True
    """
    cells = [_cell(cell) for cell in notebook["cells"] if cell["cell_type"] == "code" and _text(cell).strip()]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    tags = sorted(cell.get("metadata", {}).get("tags") or ())
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": tags} if tags else {},
        "outputs": [],
        "source": _text(cell).splitlines(keepends=True),
    }


def _text(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def place(folder: str, notebook: str) -> str:
    """Return where in a folder the code of a notebook is kept.

    >>> place(".reprokit/clean", "../shared/a.ipynb")
    '.reprokit/clean/up/shared/a.ipynb'
    """
    return f"{folder}/{notebook.replace('../', 'up/').lstrip('/')}"


def installed(environments: Iterable[Environment]) -> bytes:
    """Return what is installed, the same bytes for the same packages wherever they lie; reprokit is left out.

    >>> installed([Environment(fingerprint="f", python="3.12.1", implementation="cpython", executable="", prefix="")])
    b'cpython 3.12.1\\n'
    """
    lines: list[str] = []
    for one in environments:
        lines.append(f"{one.implementation} {one.python}")
        for package in sorted(one.distributions, key=lambda package: package.name):
            marks = [f"{package.name}=={package.version}", package.commit, package.content]
            lines += [" ".join(filter(None, marks))] if package.name != "reprokit" else []
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def refresh(folder: str, notebooks: Sequence[str]) -> None:
    """Write the code of notebooks, and what is installed, into a folder; paths are relative to the working directory.

    Raises:
        UsageError: a notebook cannot be read, or the folder cannot be written.
    """
    read = {notebook: _read(Path(notebook)) for notebook in notebooks}
    for notebook, content in read.items():
        _write(Path(place(folder, notebook)), cleaned(content))
    kernels = dict.fromkeys(_kernel(content) for content in read.values())
    _write(Path(folder, ENVIRONMENT), installed(_environments(list(kernels))))


def _read(path: Path) -> Mapping[str, Any]:
    """Return a notebook, one of this format as it lies there: what else there is, the library knows."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["nbformat"] == 4 and cleaned(content):
            return content
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # what it is about is told there
    from reprokit.notebook.parameters import read_notebook

    older: Mapping[str, Any] = read_notebook(path)
    return older


def _kernel(notebook: Mapping[str, Any]) -> str | None:
    metadata = notebook.get("metadata")
    found = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) and name not in _OWN_KERNELS else None


def _environments(kernels: Sequence[str | None]) -> Iterable[Environment]:
    """Yield what is installed for this interpreter, and for those of kernels that are another one's."""
    from reprokit.capture.environment.environment import observe

    yield observe()
    if others := [kernel for kernel in kernels if kernel is not None]:
        from reprokit.pipeline.interpreter import of_kernels

        yield from of_kernels(others)


def _write(target: Path, content: bytes) -> None:
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror})", remedy="see its folder") from error
    finally:
        draft.unlink(missing_ok=True)
