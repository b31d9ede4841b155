"""What one cell does, read from its source: names read, bound and changed, settings, hidden state, in its order.

It knows one cell at a time. Whether a name is a module, a function or data, and what an earlier cell made of it, is
for ``needs`` to say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from reprokit.capture import installs
from reprokit.lint.names import names_of
from reprokit.lint.source import Block, Magic, parse
from reprokit.replay.extract import known
from reprokit.replay.extract.acts import Act
from reprokit.replay.extract.expressions import (
    called_name,
    carried_by,
    changes,
    is_fixed,
    is_history,
    is_one_value,
    is_unseeded,
    root_of,
    shares_of,
    walk,
    what_is_read,
)
from reprokit.replay.extract.known import Level

__all__ = ["Effects", "effects_of"]


@dataclass(slots=True)
class Effects:
    """All that a cell does; ``displays``: its last expression is shown; ``empty``: a replay does nothing for it."""

    acts: list[Act] = field(default_factory=list)
    displays: bool = False
    empty: bool = False


@lru_cache(maxsize=4096)
def effects_of(source: str) -> Effects:
    """Return what a cell does; the same object for the same source."""
    block = Block(0, source)
    parse(block)
    effects = Effects(empty=_only_installs(source))
    reader = _Reader(effects.acts)
    for magic in block.magics:
        reader.magic(magic)
    if block.opaque:
        reader.opaque(source)
    body = block.tree.body if block.tree else []
    reader.statements(body, "")
    if block.local:  # what it binds is gone after it
        effects.acts[:] = [act for act in effects.acts if act.kind not in _OF_A_NAME]
    effects.displays = bool(body) and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";")
    return effects


def _only_installs(source: str) -> bool:
    if not installs.lines(source):
        return False
    left = [line.strip() for line in installs.without(source).split("\n")]
    return all(line in ("", "pass", ":") or line.startswith(("#", "%%bash", "%%sh")) for line in left)


_OF_A_NAME = ("bind", "delete", "fixed", "unseeded")
_WORDS = re.compile(r"[A-Za-z_]\w*")
_EXPANDED = re.compile(r"\{([^{}]*)\}|\$([A-Za-z_]\w*)")
_TEXTS = frozenset(("eval", "exec", "query", "ev", "ex", "run_cell", "run_cell_magic", "globals", "locals", "vars"))
_BUILT_IN_MAGICS = frozenset(
    (
        "!", "alias", "autoawait", "autocall", "automagic", "bash", "bookmark", "cache", "capture", "cd", "code_wrap",
        "colors", "conda", "config", "connect_info", "cp", "debug", "dhist", "dirs", "doctest_mode", "ed", "edit",
        "env", "file", "gui", "hist", "history", "html", "js", "javascript", "killbgscripts", "latex", "ldir", "less",
        "lf", "lk", "ll", "load", "load_ext", "loadpy", "logoff", "logon", "ls", "lsmagic", "lx", "macro", "magic",
        "mamba", "markdown", "matplotlib", "mkdir", "more", "mv", "notebook", "page", "pastebin", "pdb", "pdef",
        "pdoc", "perl", "pfile", "pinfo", "pinfo2", "pip", "popd", "pprint", "precision", "prun", "psearch",
        "psource", "pushd", "pwd", "pycat", "pylab", "pypy", "python", "python2", "python3", "qtconsole", "quickref",
        "recall", "rehashx", "reload_ext", "rep", "rerun", "reset", "reset_selective", "rm", "rmdir", "ruby", "run",
        "save", "sc", "script", "set_env", "sh", "store", "svg", "sx", "system", "tb", "time", "timeit", "unalias",
        "unload_ext", "uv", "who", "who_ls", "whos", "writefile", "xdel", "xmode", "repro",
    )
)  # fmt: skip
_UNSEEN = frozenset(("run", "pylab", "store", "load", "loadpy", "cython", "R", "rpull", "sql"))
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SHELL = frozenset(("!", "bash", "sh", "script", "system", "sx", "cmd"))


class _Reader:
    """Reads statements into acts."""

    def __init__(self, acts: list[Act]) -> None:
        self._acts = acts

    def _add(self, kind: str, name: str = "", level: Level = Level.SURE, how: str = "", **more: object) -> None:
        self._acts.append(Act(kind, name, level, how, **more))  # type: ignore[arg-type]

    # -- magics ---------------------------------------------------------------------------------

    def magic(self, magic: Magic) -> None:
        text = f"{magic.line}\n{magic.body}" if magic.name in _SHELL else magic.line
        for inside, plain in _EXPANDED.findall(text):
            for word in _WORDS.findall(inside or plain):
                self._add("text", word, Level.SURE)
        words = magic.line.split()
        if magic.name in _SHELL:
            if re.search(r"\bmkdir\b", text):
                self._add("folder")
        elif magic.name == "repro":
            self._repro(words)
        elif magic.name in ("load_ext", "reload_ext"):
            self._add("offer", "repro" if words[:1] == ["reprokit"] else "magic", how=f"loads {magic.line.strip()}")
            if words[:1] == ["autoreload"]:
                self._add("set", level=Level.LIKELY, how="loads autoreload")
        elif magic.name == "cd":
            self._add("set", level=Level.SURE, how="changes the working directory")
        elif magic.name in ("matplotlib", "config", "autoreload", "precision", "xmode", "gui"):
            self._add("set", level=Level.LIKELY, how=f"sets %{magic.name}")
        elif (magic.name == "env" and "=" in magic.line) or magic.name == "set_env":
            self._add("set", level=Level.LIKELY, how="sets an environment variable")
        elif magic.name in _UNSEEN:
            self._add("unseen")
        if magic.name not in _BUILT_IN_MAGICS:
            self._add("use", "magic")
            self._texts(_WORDS.findall(f"{magic.line}\n{magic.body}"))

    def _repro(self, words: list[str]) -> None:
        verb = words[0] if words else ""
        self._add("use", "repro")
        if verb == "seed" or any(word.startswith("--seed") for word in words):
            self._add("seed")
        if verb == "start":
            self._add("offer", "repro", how="begins the run")

    def opaque(self, source: str) -> None:
        """Read what is no Python: any name in it may be used, any name may be bound by it."""
        self._texts(_WORDS.findall(source))
        self._add("unseen")

    def _texts(self, words: Iterable[str]) -> None:
        for word in dict.fromkeys(words):
            self._add("text", word, Level.LIKELY)
            self._add("change", word, Level.POSSIBLE, how="__argument__")

    # -- statements -----------------------------------------------------------------------------

    def statements(self, body: Iterable[ast.stmt], within: str) -> None:
        """Read statements; ``within`` is "branch" or "loop" where they may not run."""
        for statement in body:
            self._statement(statement, within)

    def _statement(self, node: ast.stmt, within: str) -> None:
        if isinstance(node, (ast.If, ast.While)):
            self._simple(ast.Expr(node.test), within)
            self.statements([*node.body, *node.orelse], within or "branch")
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._simple(ast.Assign([node.target], node.iter), within or "loop", consumes=True)
            self.statements([*node.body, *node.orelse], within or "loop")
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                made = ast.Expr(item.context_expr)
                self._simple(
                    made if item.optional_vars is None else ast.Assign([item.optional_vars], item.context_expr), within
                )
            self.statements(node.body, within)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            self._try(node, within)  # type: ignore[arg-type]
        elif isinstance(node, ast.Match):
            self._simple(ast.Expr(node.subject), within)
            for case in node.cases:
                self._names(case.pattern, within or "branch")
                self.statements(case.body, within or "branch")
        elif isinstance(node, ast.Delete):
            self._delete(node, within)
        else:
            self._simple(node, within)

    def _try(self, node: ast.Try, within: str) -> None:
        self.statements(node.body, within or "loop")
        for handler in node.handlers:
            self.statements(handler.body, within or "branch")
        self.statements(node.orelse, within or "loop")
        self.statements(node.finalbody, within)

    def _names(self, pattern: ast.pattern, within: str) -> None:
        for inner in ast.walk(pattern):
            name = getattr(inner, "name", None) or getattr(inner, "rest", None)
            if name:
                self._add("bind", name, how=within)

    def _delete(self, node: ast.Delete, within: str) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._add("read", target.id, Level.SURE if within else Level.HARD)
                self._add("delete", target.id, how=within)
            else:
                self._simple(ast.Expr(what_is_read(target)), within)
                if root := root_of(target):
                    self._add("change", root)

    def _simple(self, node: ast.stmt, within: str, *, consumes: bool = False) -> None:
        """Read a statement that holds no others, but for functions and classes."""
        _located(node)
        found = names_of(Block(0, "", tree=ast.Module([node], [])))
        stored: set[str] = set()
        for event, name, _ in found.events:
            if event == "store":
                stored.add(name)
            elif name not in stored:
                self._load(name, Level.SURE if within else Level.HARD)
        words = self._hidden(node)
        if isinstance(node, _DEFINITIONS):
            for outer in (*node.decorator_list, *getattr(node, "bases", ())):
                self._acts += changes(ast.Expr(outer))
        else:
            self._acts += changes(node)
        if consumes and isinstance(node, ast.Assign) and (root := root_of(node.value)):
            self._add("change", root, Level.POSSIBLE, how="__iter__")
        if found.star and not isinstance(node, _DEFINITIONS):
            self._add("unseen")
        stores = [name for event, name, _ in found.events if event == "store"]
        self._binds(node, stores, within, set(found.deferred), words)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            self._add("set", level=Level.LIKELY, how="changes the language")

    def _load(self, name: str, level: Level) -> None:
        if name in ("_", "__", "___"):
            self._add("last")
        elif re.fullmatch(r"_i?\d+", name):
            self._add("counts", name.lstrip("_i"))
        self._add("read", name, level)

    def _hidden(self, node: ast.stmt) -> list[str]:
        """Read texts that are run as code, and calls that seed; return the words of those texts."""
        words: list[str] = []
        self._numbered(node)
        for call in walk(node):
            if not isinstance(call, ast.Call):
                continue
            called = called_name(call)
            if known.seeds(called):
                self._add("seed")
            if called in _TEXTS:
                texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                words += _WORDS.findall(" ".join(text for text in texts if isinstance(text, str)))
            if called in ("mkdir", "makedirs"):
                self._add("folder")
        self._texts(words)
        return words

    def _numbered(self, node: ast.stmt) -> None:
        """Read results and inputs by their numbers."""
        told: set[int] = set()
        for inner in walk(node):
            if isinstance(inner, ast.Subscript) and is_history(inner.value) and isinstance(inner.slice, ast.Constant):
                told.add(id(inner.value))
                self._add("counts", str(inner.slice.value))
            elif is_history(inner) and id(inner) not in told:
                self._add("counts")

    def _binds(self, node: ast.stmt, names: list[str], within: str, deferred: set[str], words: Iterable[str]) -> None:
        carried = carried_by(node, deferred)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name != "*":
                    home = f"{'.' * node.level}{node.module}." if isinstance(node, ast.ImportFrom) else ""
                    full = f"{home}{alias.name}"
                    name = alias.asname or alias.name.partition(".")[0]
                    self._add("bind", name, how=within or f"import {full}")
            return
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self._add("change", node.target.id, Level.SURE)
            self._add("share", node.target.id, parts=tuple(shares_of(node.value)))
            return
        shares = dict(shares_of(node.value)) if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value else {}
        for inner in walk(node):
            if isinstance(inner, ast.NamedExpr):
                shares = {**dict(shares_of(inner.value)), **shares}
        shares = {**dict.fromkeys(words, Level.LIKELY), **shares}
        for name in dict.fromkeys(names):
            others = tuple(other for other in dict.fromkeys(names) if other != name)
            self._add("bind", name, how=within, parts=tuple(shares.items()), carried=carried, others=others)
            if isinstance(node, ast.Assign) and is_unseeded(node.value):
                self._add("unseeded", name)
            elif isinstance(node, ast.Assign) and not within and is_fixed(node.value):
                self._add("fixed", name)
        if names[1:] and is_one_value(node):  # `fig, ax = plt.subplots()`, `a = b = []`
            self._add("share", names[0], parts=tuple((name, Level.LIKELY) for name in names[1:]))


def _located(node: ast.stmt) -> None:
    """Give a statement that was made here the lines that the reader of names asks for."""
    if not hasattr(node, "lineno"):
        first = next((inner for inner in ast.walk(node) if hasattr(inner, "lineno")), None)
        node.lineno = getattr(first, "lineno", 1)
        node.col_offset = 0
