"""A notebook's code alone: what of a notebook can change its results. Pure, but for ``refresh``.

Jupyter rewrites outputs, counts and metadata each time a notebook is saved. A pipeline that watches the file itself
would run again for nothing, so it watches this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.notebook.parameters import read_notebook

__all__ = ["cleaned", "place", "refresh"]


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


def refresh(folder: str, notebooks: Sequence[str]) -> None:
    """Write the code of notebooks into a folder; paths are relative to the working directory.

    Raises:
        UsageError: a notebook cannot be read, or the folder cannot be written.
    """
    for notebook in notebooks:
        target, content = Path(place(folder, notebook)), cleaned(read_notebook(Path(notebook)))
        draft = target.with_name(f".{target.name}-{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(target)
        except OSError as error:
            raise UsageError(f"{target} cannot be written ({error.strerror})", remedy="see its folder") from error
        finally:
            draft.unlink(missing_ok=True)
