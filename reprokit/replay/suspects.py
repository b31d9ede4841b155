"""Which statement a difference may come from: the nearest one that asks for what is not always the same.

Some of what a statement asks for is known to differ in the two runs (a helper that was edited, a package of another
version); of the rest it is only known that it may (a clock, a server). Knows both runs up to a divergence and the
lineage of the cell there, and nothing of verdicts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reprokit.records import Cell, Machine, Run
from reprokit.replay.finding import Pair
from reprokit.replay.lineage import Lineage, Link

__all__ = [
    "CLOCKS",
    "CODE",
    "POOLS",
    "TOKENS_FROM",
    "UNSEEDED",
    "Grounds",
    "Suspect",
    "changed_imports",
    "hashes_vary",
    "imports_others",
    "is_closed",
    "nearest",
    "processors_differ",
    "threads_differ",
]

CODE = (".py", ".pyi", ".pyx", ".so", ".R", ".jl", ".sh")
TOKENS_FROM = r"\buuid[14]?\b|\bsecrets\b|\burandom\b|SystemRandom"
UNSEEDED = r"(?:default_rng|RandomState|SeedSequence|Random)\(\)"
CLOCKS = (
    r"\btime\.\w*time|perf_counter|monotonic\(|\btime_ns\(|\.(?:now|utcnow|today)\(|process_time"
    r"|getoutput\(['\"]date\b|['\"]date [+-]|\btime\(\)"
)
POOLS = r"PoolExecutor|as_completed|\bThread\(|\bthreading\b|multiprocessing|imap_unordered|FIRST_COMPLETED"
_SERVERS = (
    r"\burlopen\b|\burlretrieve\b|create_connection|\brequests\.\w|\bhttpx\b|\baiohttp\b|\bsocket\.socket\b"
    r"|\bcurl\b|\bwget\b"
)
_THREADS = r"_NUM_THREADS|threadpool|num_threads|get_max_threads|cpu_count|n_jobs"
_PROCESSOR = r"\bplatform\b|cpu_count|sched_getaffinity|\buname\b|cpuinfo|\bpsutil\b|virtual_memory"
_ENVIRON = r"\benviron\b|\bgetenv\b|\benvironb\b"
_WIDGETS = r"\bipywidgets\b|\bwidgets\.|\binteract(?:ive)?\(|\bstore -r\b|user_ns"
_OF_THE_PROCESS = (
    r"\bid\(|\bgetp?pid\b|\bst_(?:ino|dev|[acm]time)|getmtime|getctime|get_(?:native_)?(?:id|ident)\b|getrusage|memory_info"
    r"|tracemalloc|\bgc\.|getloadavg|object\.__repr__|mkdtemp|mkstemp|NamedTemporaryFile|TemporaryDirectory"
)
# Variables that are read by what is not named like them.
_READ_BY = {
    "TZ": r"tzname|localtime|strftime|timezone|astimezone|tzlocal|mktime",
    "LANG": r"\blocale\b",
    "LC_": r"\blocale\b",
}
# Of the variables that a machine's record holds beside the limits of threads: which processor to compute for.
_FOR_PROCESSORS = ("OPENBLAS_CORETYPE", "MKL_CBWR")
# Names by which packages are imported, where these are others than those of the distributions.
_IMPORTED_AS = {
    "beautifulsoup4": "bs4",
    "msgpack-python": "msgpack",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "protobuf": "google",
    "pymupdf": "fitz",
    "pyserial": "serial",
    "python-dateutil": "dateutil",
    "python-dotenv": "dotenv",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What is known of both runs up to a divergence: ``changed`` are the project's files of code that differ."""

    a: Run
    b: Run
    pairs: Sequence[Pair]
    environment: tuple[str, ...]
    changed: tuple[str, ...] | None

    def cells(self, position: int) -> list[Cell]:
        return [cell for cell in self.pairs[position] if cell]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A cause, and the statement that it comes in by; that of a name that no cell made is None."""

    cause: str
    depth: int
    rank: int
    link: Link | None


def nearest(grounds: Grounds, line: Lineage) -> Suspect | None:
    """Return the nearest statement that asks for what may differ; of several there, for what differs most certainly."""
    found = [
        Suspect(_as_seen(grounds, cause, link), link.depth, rank, link)
        for link in line.links
        for rank, (cause, asks) in enumerate(_ASKED)
        if asks(grounds, link)
    ]
    if grounds.a.front != "script" and grounds.a.kind != "block":  # of which the cell is not all the source
        found += [Suspect("hidden-state", depth, len(_ASKED), None) for depth in line.free.values()]
    return min(found, key=lambda suspect: (suspect.depth, suspect.rank), default=None)


def _as_seen(grounds: Grounds, cause: str, link: Link) -> str:
    unseen = any(not cell.observed for cell in grounds.cells(link.position))
    return "hidden-state" if unseen and cause in _LOST_UNSEEN else cause


# In a cell that ran before the run began these were not recorded, and so are not put back.
_LOST_UNSEEN = ("randomness", "network", "time", "nondeterminism")


def _says(pattern: str) -> Callable[[Grounds, Link], bool]:
    return lambda _, link: _is_said(pattern, link)


def _is_said(pattern: str, link: Link) -> bool:
    return not (link.statement.imports and link.statement.carrier) and bool(re.search(pattern, link.statement.text))


def _uses_changed_code(grounds: Grounds, link: Link) -> bool:
    return any(_is_used(path, link) for path in grounds.changed or ())


def _is_used(path: str, link: Link) -> bool:
    """Return whether a statement imports a file of code, or names it."""
    file = PurePosixPath(path)
    dotted = ".".join((file.parent if file.stem == "__init__" else file.with_suffix("")).parts)
    imported = any(dotted == name or dotted.endswith(f".{name}") for name in link.statement.imports)
    return imported or bool(re.search(rf"(?<!\w){re.escape(file.name)}\b", link.statement.text))


def _uses_changed_package(grounds: Grounds, link: Link) -> bool:
    changed = changed_imports(grounds.environment)
    return not changed.isdisjoint(name.partition(".")[0].lower() for name in link.statement.imports)


def changed_imports(environment: Sequence[str]) -> frozenset[str]:
    """Return the names, in lower case, by which packages are imported that differ: lines such as "numpy 1 → 2"."""
    return frozenset(name for line in environment for name in _imported_as(line.partition(" ")[0]))


def _imported_as(distribution: str) -> Iterator[str]:
    plain = re.sub(r"[-_.]+", "-", distribution).lower()
    yield plain.replace("-", "_")
    yield plain.partition("-")[0] if plain.endswith(("-python", "-py")) else plain.removeprefix("python-")
    yield _IMPORTED_AS.get(plain, plain).lower()


def _hangs_on_hashes(grounds: Grounds, link: Link) -> bool:
    asks = link.statement.sets or "hash" in link.statement.calls
    return asks and hashes_vary(grounds.a, grounds.b)


def _reads_another_value(grounds: Grounds, link: Link) -> bool:
    """Return whether a variable of the environment that the statement reads was recorded, and differs."""
    ours, theirs = (_variables(run) for run in (grounds.a, grounds.b))
    different = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    return any(_is_said(_pattern(name), link) for name in different)


def _pattern(variable: str) -> str:
    known = [pattern for start, pattern in _READ_BY.items() if variable.startswith(start)]
    return "|".join((rf"\b{re.escape(variable)}\b", *known))


def _variables(run: Run) -> dict[str, Any]:
    config = run.config
    return (
        {}
        if config is None
        else {
            key.removeprefix("env."): value
            for key, value in config.values.items()
            if config.sources.get(key) == "environment"
        }
    )


def _reaches_out(grounds: Grounds, link: Link) -> bool:
    return not link.statement.plain and any(cell.network or cell.remote for cell in grounds.cells(link.position))


def _asks_unseen(grounds: Grounds, link: Link) -> bool:
    """Return whether a server is asked whose answer was not seen, as on this machine or over a plain connection."""
    return _is_said(_SERVERS, link) and not any(cell.remote for cell in grounds.cells(link.position))


def _is_unseeded(grounds: Grounds, link: Link) -> bool:
    """Return whether a generator is made that had another seed, or none that is known."""
    if not _is_said(UNSEEDED, link):
        return False
    ours, theirs = (_entropy(cell) for cell in grounds.pairs[link.position])
    return ours != theirs or not ours


def _entropy(cell: Cell | None) -> set[str]:
    return {state.entropy for state in cell.random if state.entropy} if cell else set()


# What is known to differ comes first, then what it is most often.
_ASKED: tuple[tuple[str, Callable[[Grounds, Link], bool]], ...] = (
    ("code", _uses_changed_code),
    ("environment", _uses_changed_package),
    ("hash-order", _hangs_on_hashes),
    ("hardware", lambda g, link: processors_differ(g.a, g.b) and _is_said(_PROCESSOR, link)),
    ("parallelism", lambda g, link: threads_differ(g.a, g.b) and _is_said(_THREADS, link)),
    ("config", _reads_another_value),
    ("randomness", _says(TOKENS_FROM)),
    ("randomness", _is_unseeded),
    ("network", _reaches_out),
    ("network", _asks_unseen),
    ("time", _says(CLOCKS)),
    ("hidden-state", _says(_WIDGETS)),
    ("config", _says(_ENVIRON)),
    ("nondeterminism", _says(_OF_THE_PROCESS)),
)


# -- what differs in the two processes -------------------------------------------------------------------


def hashes_vary(a: Run, b: Run) -> bool:
    """Return whether sets of strings may have had another order in the two runs."""
    seeds = [run.machine.hash_secret or run.machine.hash_seed for run in (a, b) if run.machine]
    return "random" in seeds or len(set(seeds)) > 1


def threads_differ(a: Run, b: Run) -> bool:
    """Return whether numeric libraries were told to use, or used, another number of threads."""
    if a.machine is None or b.machine is None:
        return False
    ours, theirs = (_limits(run.machine) for run in (a, b) if run.machine)
    used, reused = (_counts(run) for run in (a, b))
    return ours != theirs or any(used[name] != reused[name] for name in used.keys() & reused.keys())


def _limits(machine: Machine) -> dict[str, str]:
    return {name: value for name, value in machine.threads.items() if name not in _FOR_PROCESSORS}


def _counts(run: Run) -> dict[str, Any]:
    """Return the number of threads of each library, as it was last told."""
    return {one.name: one.detail["threads"] for one in run.libraries if "threads" in one.detail}


def processors_differ(a: Run, b: Run) -> bool:
    """Return whether the machines differ, or what libraries take their processors for."""
    if a.machine is None or b.machine is None:
        return False
    ours, theirs = (_processor(run.machine) for run in (a, b) if run.machine)
    kinds, others = (_architectures(run) for run in (a, b))
    return ours != theirs or any(kinds[name] != others[name] for name in kinds.keys() & others.keys())


def _processor(machine: Machine) -> tuple[Any, ...]:
    chosen = [machine.threads.get(name) for name in _FOR_PROCESSORS]
    return machine.architecture, machine.cpu, machine.cores, *chosen


def _architectures(run: Run) -> dict[str, Any]:
    return {one.name: one.detail["architecture"] for one in run.libraries if "architecture" in one.detail}


# -- cells that can give one result only ---------------------------------------------------------------

_PURE = frozenset((
    "abs", "all", "any", "bin", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "filter", "float",
    "format", "frozenset", "hex", "int", "isinstance", "len", "list", "map", "max", "min", "oct", "ord", "pow",
    "print", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip",
))  # fmt: skip
_METHODS = frozenset((
    "append", "capitalize", "clear", "copy", "count", "encode", "endswith", "extend", "format", "get", "index",
    "insert", "items", "join", "keys", "lower", "lstrip", "partition", "pop", "remove", "replace", "reverse",
    "rpartition", "rstrip", "setdefault", "sort", "split", "splitlines", "startswith", "strip", "title", "update",
    "upper", "values", "zfill",
))  # fmt: skip


def is_closed(line: Lineage) -> bool:
    """Return whether all that a cell follows from is plain values and what is done with them by Python alone.

    Its result cannot differ unless something changed a value that no cell did.
    """
    if line.free or not line.links:
        return False
    made = {name for link in line.links for name in link.statement.made}
    return not (made & _PURE) and all(_is_pure(link) for link in line.links)


def _is_pure(link: Link) -> bool:
    one = link.statement
    if one.carrier or one.imports or one.opaque or not one.understood or one.sets:
        return False
    return all(call in _PURE or (call.rpartition(".")[2] in _METHODS and "." in call) for call in one.calls)


def imports_others(line: Lineage) -> bool:
    """Return whether a cell follows from code of other packages, or from what cannot be read."""
    tops = {name.partition(".")[0] for link in line.links for name in link.statement.imports}
    unclear = any(link.statement.opaque or not link.statement.understood for link in line.links)
    return unclear or not line.links or not tops <= sys.stdlib_module_names
