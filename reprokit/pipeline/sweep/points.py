"""The points of a sweep: which values its parameters take, from grids, a file, or a random sample.

It knows how values are written and combined; whether a notebook takes them is asked of ``notebook.fitting``. The
same words give the same points in the same order, on every machine.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reprokit import digest
from reprokit.errors import UsageError
from reprokit.notebook.given import parse_assignments, parsed
from reprokit.notebook.parameters import Parameter

__all__ = ["MOST", "Space", "brief", "from_file", "grid", "joined", "products", "sample", "space"]

MOST = 100_000  # points of one sweep
_TRIES = 100  # draws for each point that is wanted before a space counts as used up
_DISTRIBUTIONS = ("uniform(a,b)", "loguniform(a,b)", "int(a,b)", "choice(x,y,…)")
_SPACE = re.compile(r"\s*(uniform|loguniform|int|choice)\s*\((.*)\)\s*", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"

Declared = Mapping[str, Parameter]
Values = dict[str, Any]


# --- grids


def grid(words: Sequence[str], declared: Declared | None = None) -> list[Values]:
    """Return all combinations of ``NAME=VALUE,VALUE,…``; the last word varies fastest.

    Args:
        words: one for each parameter; a comma inside brackets or quotes does not separate.
        declared: the notebook's parameters, by which a text becomes a value as ``-p`` has it.

    Raises:
        UsageError: a word is no such thing, or names a parameter again.

    >>> grid(["lr=0.1,1e-3", "layers=[64, 32],[8]"])[1]
    {'lr': 0.1, 'layers': [8]}
    """
    named: dict[str, list[Any]] = {}
    for word in words:
        name, values = _split_word(word, "--grid", "--grid NAME=VALUE,VALUE")
        if name in named:
            raise UsageError(f"--grid names {name!r} twice", remedy=f"write --grid {name}=VALUE,VALUE,… once")
        named[name] = [_value(name, text, declared) for text in _listed(values, word)]
    _limit(math.prod(map(len, named.values())))
    return [dict(zip(named, values, strict=True)) for values in itertools.product(*named.values())]


def _split_word(word: str, option: str, form: str) -> tuple[str, str]:
    name, equals, rest = word.partition("=")
    if not equals or not rest.strip():
        raise UsageError(f"{option} {word!r} gives no values", remedy=f"write {form}")
    return name.strip(), rest


def _listed(text: str, word: str) -> list[str]:
    """Split a text at its commas, but for those in brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if sign == "," and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += sign
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and not parts[-1][:-1].strip():  # one in the middle of a word is an apostrophe
            quote = sign
        else:
            depth += (sign in _OPENING) - (sign in _CLOSING)
    if any(not part.strip() for part in parts):
        raise UsageError(f"{word!r} has an empty value", remedy="leave the comma out, or write '' for an empty text")
    return [part.strip() for part in parts]


def _value(name: str, text: str, declared: Declared | None) -> Any:
    return parse_assignments([(name, text)], declared)[name]


# --- files


def from_file(path: Path, declared: Declared | None = None) -> list[Values]:
    """Return the points of a file, one for each row.

    Args:
        path: a CSV (or TSV) whose first line names the parameters and whose empty cells leave the default; a YAML or
            JSON list of mappings; or JSONL.
        declared: the notebook's parameters, by which texts of a CSV become values.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read ({why})", remedy="give a CSV, YAML, JSON or JSONL file") from error
    kind = path.suffix.lower()
    rows = _of_csv(path, text, declared) if kind in (".csv", ".tsv") else _of_documents(path, text, kind)
    if not rows:
        raise UsageError(f"{path} holds no points", remedy="write one row for each")
    _limit(len(rows))
    return rows


def _of_csv(path: Path, text: str, declared: Declared | None) -> list[Values]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path} is not valid CSV ({error})", remedy="mend it") from error
    lines = [(number, line) for number, line in enumerate(table, 1) if any(cell.strip() for cell in line)]
    if not lines:
        return []
    names = [name.strip() for name in lines[0][1]]
    if len(set(names)) < len(names) or "" in names:
        raise UsageError(f"{path} does not name its columns", remedy="its first line names each parameter once")
    found = []
    for number, line in lines[1:]:
        if len(line) != len(names):
            raise UsageError(f"{path}: row {number} has {len(line)} cells, not {len(names)}", remedy="mend it")
        cells = {name: cell.strip() for name, cell in zip(names, line, strict=True) if cell.strip()}
        found.append({name: _value(name, cell, declared) for name, cell in cells.items()})
    return found


def _of_documents(path: Path, text: str, kind: str) -> list[Values]:
    try:
        if kind in (".jsonl", ".ndjson"):
            rows = [parsed(line, "JSON") for line in text.split("\n") if line.strip()]
        else:
            rows = parsed(text, "JSON" if kind == ".json" else "YAML")
    except (ValueError, yaml.YAMLError) as error:
        name = "JSONL" if kind in (".jsonl", ".ndjson") else kind.removeprefix(".").upper() or "YAML"
        raise UsageError(f"{path} is not valid {name} ({str(error).splitlines()[0]})", remedy="mend it") from error
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise UsageError(f"{path} is not a list of points", remedy="write a list of mappings, one for each point")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
            raise UsageError(f"{path}: entry {number} does not map names to values", remedy="write {name: value, …}")
    return rows


# --- samples


@dataclass(frozen=True, slots=True)
class Space:
    """The values that one parameter may take in a sample: a ``kind`` of distribution with its arguments."""

    name: str
    kind: str
    arguments: tuple[Any, ...]

    def draw(self, generator: random.Random) -> Any:
        """Return the next value; each takes one number of the generator."""
        part = generator.random()
        if self.kind == "choice":
            return self.arguments[int(part * len(self.arguments))]
        low, high = self.arguments
        if self.kind == "int":
            return low + int(part * (high - low + 1))
        if self.kind == "loguniform":
            return min(max(math.exp(math.log(low) + part * (math.log(high) - math.log(low))), low), high)
        return low + part * (high - low)


def space(word: str, declared: Declared | None = None) -> Space:
    """Return what ``NAME=uniform(a,b)``, ``loguniform(a,b)``, ``int(a,b)`` or ``choice(x,y,…)`` says.

    Raises:
        UsageError: it is no such thing, or its bounds are none.

    >>> space("lr=loguniform(1e-4,0.1)").arguments
    (0.0001, 0.1)
    """
    form = f"--space NAME={'|'.join(_DISTRIBUTIONS)}"
    name, rest = _split_word(word, "--space", form)
    found = _SPACE.fullmatch(rest)
    if found is None:
        raise UsageError(f"--space {word!r} is no distribution", remedy=f"write {form}")
    kind, texts = found[1], _listed(found[2], word)
    if kind == "choice":
        return Space(name, kind, tuple(_value(name, text, declared) for text in texts))
    parse_assignments([(name, "0")])  # is it a name?
    return Space(name, kind, _bounds(word, kind, texts))


def _bounds(word: str, kind: str, texts: Sequence[str]) -> tuple[Any, ...]:
    try:
        low, high = [int(text) if kind == "int" else float(text) for text in texts]
    except ValueError as error:
        wanted = "two whole numbers" if kind == "int" else "two numbers"
        raise UsageError(f"--space {word!r} has no bounds", remedy=f"{kind} takes {wanted}") from error
    if not (math.isfinite(low) and math.isfinite(high)) or low >= high or (kind == "loguniform" and low <= 0):
        above = "both above 0, and " if kind == "loguniform" else ""
        raise UsageError(f"--space {word!r} has no bounds", remedy=f"give {above}the lower one first")
    return low, high


def sample(spaces: Sequence[Space], count: int, seed: int) -> list[Values]:
    """Return different points drawn from spaces; more points of the same seed begin with the same ones.

    Each parameter has a stream of numbers of its own, so one more does not change the others.

    Raises:
        UsageError: a parameter has two spaces, or there are not so many different points.
    """
    names = [one.name for one in spaces]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--space names {name!r} twice", remedy="give each parameter one space")
    _limit(count)
    streams = [(one, random.Random(f"reprokit {seed} {one.name}")) for one in spaces]
    found: dict[str, Values] = {}
    for _ in range(count * _TRIES):
        values = {one.name: one.draw(generator) for one, generator in streams}
        found.setdefault(repr(values), values)
        if len(found) == count:
            return list(found.values())
    raise UsageError(f"the space has only {len(found)} different points", remedy=f"--sample {len(found)}, or --grid")


# --- together


def products(*parts: Sequence[Values]) -> list[Values]:
    """Return all combinations of the points of several sources, the last varying fastest.

    Raises:
        UsageError: two sources name the same parameter.
    """
    given = [part for part in parts if part]
    for one, other in itertools.combinations(given, 2):
        for name in {name for point in one for name in point} & {name for point in other for name in point}:
            remedy = "let one of -p, --grid, --points and --space say it"
            raise UsageError(f"parameter {name!r} is given twice", remedy=remedy)
    _limit(math.prod(map(len, given)))
    return [joined(chosen) for chosen in itertools.product(*given)]


def joined(parts: Iterable[Values]) -> Values:
    """Return one point of several parts."""
    return {name: value for part in parts for name, value in part.items()}


def brief(values: Mapping[str, Any]) -> str:
    """Return a point in words.

    >>> brief({"lr": 0.1, "kind": "adam"})
    'lr=0.1 kind=adam'
    """
    spelt = (value if isinstance(value, str) else digest.canonical_json(value).decode() for value in values.values())
    return " ".join(f"{name}={text}" for name, text in zip(values, spelt, strict=True))


def _limit(count: int) -> None:
    if count > MOST:
        raise UsageError(f"that is {count:,} points", remedy=f"a sweep has at most {MOST:,}: make several")
