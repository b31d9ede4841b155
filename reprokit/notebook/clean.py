"""A notebook of chosen cells that says where it comes from; and its file, which replaces no other unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from reprokit.errors import UsageError
from reprokit.notebook.compose import compose
from reprokit.records import Cell

__all__ = ["clean", "require_free", "save"]


def clean(
    cells: Sequence[Cell], *, heading: str, about: Mapping[str, Any], tags: Mapping[int, Sequence[str]]
) -> NotebookNode:
    """Return a linear notebook of recorded cells.

    Args:
        cells: the cells, in the order to run them.
        heading: Markdown that comes before them.
        about: what the notebook's metadata says under ``reprokit``.
        tags: number of a cell → its tags.
    """
    notebook = compose(cells)
    notebook.metadata["kernelspec"]["display_name"] = "Python 3"
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["reprokit"] = dict(about)
    for cell, composed in zip(cells, notebook.cells, strict=True):
        if tags.get(cell.seq):
            composed.metadata["tags"] = list(tags[cell.seq])
    first = nbformat.v4.new_markdown_cell(heading)
    first.id = "about"
    notebook.cells.insert(0, first)
    nbformat.validate(notebook)
    return notebook


def require_free(path: Path, *, force: bool) -> None:
    """Pass when a notebook may be written there.

    Raises:
        UsageError: something is there already, or it is in no folder.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", remedy="name a notebook to write, such as clean.ipynb")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already", remedy="`--force` replaces it")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", remedy="make it, or name a file elsewhere")


def save(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        nbformat.write(notebook, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error})", remedy="name a file that you may write") from error
