"""What the names in a document's calls stand for: modules behind aliases, and texts behind variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reprokit.lint.source import Block

__all__ = ["Call", "Calls"]

# What everybody calls them, for notebooks that import by `from … import *` or in a cell that is gone.
_USUAL = {"np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot", "sns": "seaborn", "tf": "tensorflow"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``name`` is the full dotted name of what is called, "" where that cannot be known.

    ``method`` is the last part as written; ``inside`` names the functions around it; ``parent`` is the node
    that it is a part of.
    """

    block: Block
    node: ast.Call
    name: str
    method: str
    inside: tuple[str, ...]
    parent: ast.AST

    @property
    def line(self) -> int:
        """Return the line."""
        return self.node.lineno

    def argument(self, position: int, *names: str) -> ast.expr | None:
        """Return an argument by position or by one of its names."""
        for keyword in self.node.keywords:
            if keyword.arg in names:
                return keyword.value
        if position < 0 or any(isinstance(one, ast.Starred) for one in self.node.args[: position + 1]):
            return None
        return self.node.args[position] if position < len(self.node.args) else None

    @property
    def is_open_ended(self) -> bool:
        """Return whether it may have arguments that cannot be seen (``*args``, ``**options``)."""
        starred = any(isinstance(argument, ast.Starred) for argument in self.node.args)
        return starred or any(keyword.arg is None for keyword in self.node.keywords)


@dataclass
class Calls:
    """All calls of a document, in its order."""

    blocks: Sequence[Block]
    parents: dict[int, ast.AST] = field(default_factory=dict)

    @cached_property
    def all(self) -> list[Call]:
        """Return every call."""
        return [call for block in self.blocks if block.tree for call in self._below(block, block.tree, ())]

    def _below(self, block: Block, node: ast.AST, inside: tuple[str, ...]) -> Iterator[Call]:
        for child in ast.iter_child_nodes(node):
            self.parents[id(child)] = node
            if isinstance(child, ast.Call):
                method = child.func.attr if isinstance(child.func, ast.Attribute) else getattr(child.func, "id", "")
                yield Call(block, child, self.full_name(child.func), method, inside, node)
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from self._below(block, child, (*inside, child.name) if named else inside)  # type: ignore[attr-defined]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Return name → full name of what is imported under it, without names that are also variables."""
        found: dict[str, str] = {}
        for node in self._nodes():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        usual = {name: full for name, full in _USUAL.items() if name not in found}
        return {name: full for name, full in {**usual, **found}.items() if name not in self.assigned}

    @cached_property
    def assigned(self) -> dict[str, list[ast.expr | None]]:
        """Return name → what is assigned to it, None where that is no plain assignment."""
        found: dict[str, list[ast.expr | None]] = {}
        plain: set[int] = set()
        for node in self._nodes():
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        plain.add(id(target))
                        found.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in plain:
                found.setdefault(node.id, []).append(None)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.setdefault(node.name, []).append(None)
        return found

    @cached_property
    def functions(self) -> dict[str, ast.AST]:
        """Return the functions that the document defines, by name."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return {node.name: node for node in self._nodes() if isinstance(node, kinds)}

    def _nodes(self) -> Iterator[ast.AST]:
        return (node for block in self.blocks for node in block.nodes)

    def full_name(self, node: ast.AST) -> str:
        """Return the dotted name of an expression, with aliases resolved; "" when it is no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        if node.id in self.assigned:
            return ""
        return ".".join([self.aliases.get(node.id, node.id), *reversed(parts)])

    def text(self, node: ast.AST | None, depth: int = 0) -> str | None:
        """Return the text that an expression certainly is; a ``\\0`` stands for a part that is not known."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name) and depth < 5:
            values = self.assigned.get(node.id, [])
            return self.text(values[0], depth + 1) if len(values) == 1 and values[0] is not None else None
        if isinstance(node, ast.JoinedStr):
            parts = [self.text(part, depth) for part in node.values]
            return "".join(part or "\0" for part in parts)
        if isinstance(node, ast.FormattedValue):
            return self.text(node.value, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.text(node.left, depth), self.text(node.right, depth)
            return None if left is None and right is None else f"{left or chr(0)}{right or chr(0)}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left, right = self.text(node.left, depth), self.text(node.right, depth)
            return None if left is None else f"{left.rstrip('/')}/{right or chr(0)}"
        if isinstance(node, ast.Call):
            return self._text_of_call(node, depth)
        return None

    def _text_of_call(self, node: ast.Call, depth: int) -> str | None:
        name = self.full_name(node.func)
        if name in ("pathlib.Path", "pathlib.PurePath", "os.path.join") and node.args:
            parts = [self.text(argument, depth) for argument in node.args]
            return None if parts[0] is None else "/".join(part or "\0" for part in parts)
        if name in ("str", "os.path.expanduser", "os.path.abspath", "os.fspath") and len(node.args) == 1:
            return self.text(node.args[0], depth)
        return None
