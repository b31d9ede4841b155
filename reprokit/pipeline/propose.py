"""Proposes a ``parameters`` cell for a notebook that has none: plain values that are set once and used later.

It reads the notebook and what its run used; nothing is written but by ``write``.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import difflib
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from reprokit.errors import UsageError
from reprokit.lint.source import Block, parse
from reprokit.notebook.parameters import has_parameters, read_notebook
from reprokit.pipeline.infer import as_yaml
from reprokit.pipeline.stages import Pipeline, Stage
from reprokit.records import Run
from reprokit.replay.modules import moved
from reprokit.store.store import Store

__all__ = ["Proposal", "proposals", "propose", "write"]

_TAG = "parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A notebook with a parameters cell.

    Attributes:
        notebook: its path from the project root.
        params: the parameters with their values.
        content: the notebook as it would be.
        diff: how its code would change.
    """

    notebook: str
    params: Mapping[str, Any]
    content: nbformat.NotebookNode
    diff: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    value: Any
    cell: int
    first: int  # the lines of the statement, from 1
    last: int


def proposals(store: Store, pipeline: Pipeline) -> tuple[Proposal, ...]:
    """Return a proposal for each notebook of a pipeline that has no parameters cell and could have one."""
    found = []
    for stage in pipeline.stages:
        path = store.layout.project / stage.notebook
        if path.suffix != ".ipynb" or not path.is_file() or stage.run is None:
            continue
        one = propose(read_notebook(path), stage, moved(store.load(stage.run), store.layout.project))
        if one is not None:
            found.append(one)
    return tuple(found)


def write(proposed: tuple[Proposal, ...], pipeline: Pipeline, project: Path) -> Pipeline:
    """Write the notebooks with their new cell, and return the pipeline with these parameters.

    Raises:
        UsageError: a notebook cannot be written.
    """
    params = {}
    for one in proposed:
        path = project / one.notebook
        text = nbformat.writes(one.content).rstrip("\n") + "\n"
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({error.strerror})", remedy="see its folder") from error
        params[one.notebook] = dict(one.params)
    stages = (dataclasses.replace(s, params=params.get(s.notebook, s.params)) for s in pipeline.stages)
    return dataclasses.replace(pipeline, stages=tuple(stages))


def propose(notebook: nbformat.NotebookNode, stage: Stage, run: Run) -> Proposal | None:
    """Return the notebook with a parameters cell; None when it has one, or nothing that could be a parameter.

    Args:
        notebook: the notebook as it is.
        stage: what was inferred from
        run: a run of it: texts that name its files are no parameters, since the stage's inputs are fixed.
    """
    if has_parameters(notebook):
        return None
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    blocks = [_block(number, cell["source"]) for number, cell in enumerate(cells)]
    if any(block.tree is None for block in blocks):
        return None  # what cannot be read may set anything
    chosen = [one for one in _candidates(blocks) if not _names_a_file(one.value, stage, run)]
    if not chosen:
        return None
    changed = _changed(notebook, chosen)
    return Proposal(
        notebook=stage.notebook,
        params={one.name: one.value for one in chosen},
        content=changed,
        diff=_diff(notebook, changed, stage.notebook),
    )


def _block(number: int, source: str) -> Block:
    block = Block(number, source)
    parse(block)
    return block


def _candidates(blocks: list[Block]) -> Iterator[_Candidate]:
    """Yield plain values that are given to a name at the top of a cell, when nothing else ever sets that name."""
    bound = Counter(name for block in blocks for name in _bound(block))
    read = [(at, name) for at, block in enumerate(blocks) for name in _read(block)]
    for at, block in enumerate(blocks):
        statements = block.tree.body if block.tree is not None and not block.magics else []
        for statement in statements:
            name, value = _plain_assignment(statement)
            alone = _is_alone(statement, statements)
            if name is None or not alone or bound[name] != 1 or name.startswith("_"):
                continue
            used = [place for place, other in read if other == name]
            if used and min(used) >= at and not _used_before(block, statement, name):
                yield _Candidate(name, value, at, statement.lineno, statement.end_lineno or statement.lineno)


def _plain_assignment(statement: ast.stmt) -> tuple[str | None, Any]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=node):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=node) if node is not None:
            pass
        case _:
            return None, None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None, None
    is_list = isinstance(value, list) and value and all(isinstance(one, (int, float, str)) for one in value)
    plain = isinstance(value, (bool, int, float, str)) or is_list
    return (name, value) if plain and as_yaml(value) else (None, None)


def _is_alone(statement: ast.stmt, statements: list[ast.stmt]) -> bool:
    """Return whether no other statement shares a line with this one."""
    lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    return not any(
        other is not statement and (other.lineno in lines or (other.end_lineno or 0) in lines) for other in statements
    )


def _bound(block: Block) -> Iterator[str]:
    """Yield each name as often as a cell sets, imports, defines or deletes it."""
    for node in block.nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.Global(names=names):
                yield from names


def _read(block: Block) -> Iterator[str]:
    for node in block.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id


def _used_before(block: Block, statement: ast.stmt, name: str) -> bool:
    uses = (node for node in block.nodes if isinstance(node, ast.Name) and node.id == name)
    return any(node.lineno < statement.lineno for node in uses)


def _names_a_file(value: Any, stage: Stage, run: Run) -> bool:
    """Return whether a text is in the path of something that the run used: dvc.yaml has that path."""
    texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one]
    used = [*stage.deps, *stage.products]
    for text in texts:
        path = posixpath.relpath(posixpath.join(run.cwd or run.root, text), run.root or "/")
        if any(path == one.rstrip("/") or one.startswith(f"{path}/") for one in used):
            return True
        if any(text in part for one in used for part in one.split("/")) and ("." in text or "/" in text):
            return True
    return False


# -- the notebook with the cell -------------------------------------------------------------------


def _changed(notebook: nbformat.NotebookNode, chosen: list[_Candidate]) -> nbformat.NotebookNode:
    """Return the notebook with these assignments, and comments behind them, in a cell of their own at the top."""
    changed = copy.deepcopy(notebook)
    code = [cell for cell in changed["cells"] if cell["cell_type"] == "code"]
    taken: list[str] = []
    for one in chosen:
        lines = _lines_of(notebook, one.cell)
        taken += [line.strip("\n") for line in lines[one.first - 1 : one.last]]
    for at in {one.cell for one in chosen}:
        lines = _lines_of(notebook, at)
        gone = {line for one in chosen if one.cell == at for line in range(one.first - 1, one.last)}
        code[at]["source"] = "\n".join(line for number, line in enumerate(lines) if number not in gone).strip("\n")
    first = changed["cells"].index(code[0])
    cell = nbformat.v4.new_code_cell("\n".join(taken), metadata={"tags": [_TAG]})
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) < (4, 5):
        cell.pop("id", None)
    changed["cells"].insert(first, cell)
    emptied = [code[at] for at in {one.cell for one in chosen} if not code[at]["source"].strip()]
    changed["cells"] = [cell for cell in changed["cells"] if not any(cell is other for other in emptied)]
    return changed


def _lines_of(notebook: nbformat.NotebookNode, number: int) -> list[str]:
    """Return the lines of a code cell."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return str(code[number]["source"]).split("\n")


def _diff(before: nbformat.NotebookNode, after: nbformat.NotebookNode, name: str) -> str:
    lines = difflib.unified_diff(_script(before), _script(after), name, name, lineterm="", n=1)
    return "\n".join(lines) + "\n"


def _script(notebook: nbformat.NotebookNode) -> list[str]:
    """Return a notebook's code as lines, each cell behind ``# %%``."""
    lines: list[str] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            tags = cell["metadata"].get("tags", ())
            lines += ["# %%" + (f" tags={list(tags)}" if tags else ""), *str(cell["source"]).split("\n")]
    return lines
