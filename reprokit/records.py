"""The frozen values that make up a run, and how they become JSON and back.

They know nothing of files, kernels or stores. A record is checked by the round trip
``from_dict(to_dict())``, so there is one definition of "valid".
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from reprokit.errors import SchemaError

__all__ = [
    "SCHEMA",
    "Assumption",
    "Capture",
    "Cell",
    "CellVerdict",
    "CodeState",
    "Config",
    "Difference",
    "Distribution",
    "Divergence",
    "Environment",
    "FileUse",
    "FileVerdict",
    "Gap",
    "Machine",
    "Metric",
    "Process",
    "RandomState",
    "Record",
    "Run",
    "Verdict",
]

SCHEMA = "1.0"

R = TypeVar("R", bound="Record")


class Record:
    """Base of all records: frozen dataclasses that round-trip through plain dictionaries."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; fields that hold their default are kept."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls: type[R], data: dict[str, Any]) -> R:
        """Build the record from ``to_dict()``'s form; unknown keys (a newer minor schema) are passed over.

        Raises:
            TypeError: a value has the wrong type, or a required field is missing.
        """
        kinds = _fields(cls)  # type: ignore[arg-type]  # a class is hashable, whatever its metaclass
        return cls(**{key: _typed(kinds[key], value, key) for key, value in data.items() if key in kinds})

    def validate(self: R) -> R:
        """Return an equal record, having checked every field's type."""
        return type(self).from_dict(self.to_dict())


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def _fields(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``kind``, rebuilding nested records and tuples."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _typed_union(typing.get_args(kind), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        (item, *_) = typing.get_args(kind)
        return tuple(_typed(item, entry, where) for entry in value)
    if origin is dict and isinstance(value, dict):
        _, item = typing.get_args(kind)
        return {str(key): _typed(item, entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(kind, type) and issubclass(kind, Record) and isinstance(value, dict):
        return kind.from_dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")


def _typed_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind, *_) = [kind for kind in kinds if kind is not type(None)]
    return _typed(kind, value, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Record):
    """Something that could not be observed or stored, told at once with what to do about it.

    ``blocks`` says that a replay could not be exact because of it. ``cell`` is a ``Cell.seq``.
    """

    aspect: str
    message: str
    remedy: str = ""
    cell: int | None = None
    blocks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Process(Record):
    """One process, named so that it can never be mistaken for a later one with the same pid.

    ``started`` is the kernel's start time of the process in clock ticks after boot.
    """

    host: str
    boot: str
    pid: int
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Record):
    """How files were observed: ``tier`` is complete, watch or basic; ``reasons`` says what lowered it."""

    tier: str
    complete: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeState(Record):
    """The whole tree as it was, stored as git objects.

    ``repository`` is the git directory that holds ``snapshot`` (a commit under ``ref``);
    ``kind`` is "git" for the user's repository, "private" for one inside the store.
    ``prefix`` is the project root's path inside the repository ("" when they are the same).
    ``large`` holds the files too large for git (stored as objects, ``path`` relative to the repository's top).
    ``submodules`` are snapshots of their own; ``top`` says where they are inside this one's ``top``.
    """

    kind: str
    repository: str
    ref: str
    snapshot: str
    tree: str
    top: str
    prefix: str = ""
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    large: tuple[FileUse, ...] = ()
    submodules: tuple[CodeState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUse(Record):
    """One file as one cell used it.

    ``path`` is relative to the project root (with ``/``) when inside it, else absolute.
    ``access`` is "read" or "write". ``digest`` is of the bytes at the time of use: before the
    cell changed them for a read, after the cell for a write. ``stored`` is where the bytes can be
    had again: "git" (in the snapshot), "object", or "none". ``state`` is "stable", "unstable"
    (it changed while it was in use), "missing" (it was gone before it could be hashed) or
    "pending" (the process ended before it was hashed). ``source`` names who saw it.
    ``own`` says of a read that the run had written the file before it read it.
    """

    path: str
    access: str
    size: int | None = None
    digest: str | None = None
    stored: str = "none"
    state: str = "stable"
    source: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomState(Record):
    """The state of all known generators at one point of a cell.

    ``at`` is "start", "end", or "import <module>" for a library first imported inside the cell.
    ``states`` maps a generator ("random", "numpy", "torch", "variable rng") to the digest of the
    object that holds its state. ``entropy`` is the hexadecimal root from which generators that the
    cell created without a seed were seeded.
    """

    at: str
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    entropy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Record):
    """Configuration by flat key, each with where it came from; secrets are already redacted."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(Record):
    """One installed distribution.

    ``origin`` is "index", "vcs", "local" (a wheel, sdist or folder), "editable" or "unknown";
    ``url`` and ``commit`` come from its ``direct_url.json`` (PEP 610). ``content`` is a digest of what
    is installed, for a local one: the same version can be built twice from different sources.
    """

    name: str
    version: str
    origin: str = "index"
    url: str | None = None
    commit: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Record):
    """The interpreter and everything installed in it. ``fingerprint`` names the lock made from it."""

    fingerprint: str
    python: str
    implementation: str
    executable: str
    prefix: str
    distributions: tuple[Distribution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(Record):
    """The computer, and the settings of the process that change numbers: hash seed and threads.

    ``hash_seed`` is PYTHONHASHSEED ("random" when it was not fixed); ``threads`` holds the
    thread-limit environment variables that were set. ``memory`` is in bytes.
    """

    system: str
    release: str
    architecture: str
    libc: str
    cpu: str
    cores: int
    memory: int | None
    hash_seed: str
    threads: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption(Record):
    """Something the results rest on. ``holds`` is None when it was stated, not checked."""

    text: str
    holds: bool | None = None
    cell: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Record):
    """A result worth comparing."""

    key: str
    value: Any
    cell: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Record):
    """One execution of one cell.

    ``seq`` counts from 1 in the order in which things happened; ``source`` is what the user typed.
    ``status`` is "running", "done", "failed" or "interrupted". ``entered`` is "start", or "inside"
    when the run began in the middle of the cell; ``observed`` is False for cells that ran before
    the run began (known by their source alone). ``outputs`` is the digest of a JSON list of
    nbformat outputs. ``answers`` are the lines given to ``input()``. ``network`` lists the hosts
    contacted. ``environment`` is an ``Environment.fingerprint``. ``started`` is in seconds after
    the epoch.
    """

    seq: int
    source: str
    cell_id: str | None = None
    execution_count: int | None = None
    status: str = "running"
    entered: str = "start"
    observed: bool = True
    error: str | None = None
    started: float | None = None
    duration_s: float | None = None
    random: tuple[RandomState, ...] = ()
    reads: tuple[FileUse, ...] = ()
    writes: tuple[FileUse, ...] = ()
    outputs: str | None = None
    answers: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    environment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Record):
    """One experiment, as recorded.

    ``kind`` is "session" (``%repro start``), "block" (a ``with`` block or ``%%repro``), "batch" (one
    execution of a notebook) or "replay". ``status`` is "running", "done", "failed" or "interrupted";
    ``reason`` says why it is not "done". ``started`` and ``ended`` are seconds after the epoch.
    ``root`` is the project root, ``cwd`` the working directory. ``writers`` are the processes that
    wrote its journals. ``front`` is what the user sat at: "kernel", "terminal" or "script".
    ``folders`` are folders that existed before the run wrote into them (relative to ``root``).
    ``verdict`` is set on replays.
    """

    id: str
    name: str | None = None
    kind: str = "session"
    schema: str = SCHEMA
    reprokit: str = ""
    front: str = "kernel"
    status: str = "running"
    reason: str | None = None
    started: float = 0.0
    ended: float | None = None
    notebook: str | None = None
    script: str | None = None
    root: str = ""
    cwd: str = ""
    argv: tuple[str, ...] = ()
    replay_of: str | None = None
    seed: int | None = None
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    artifacts: tuple[FileUse, ...] = ()
    capture: Capture | None = None
    code: CodeState | None = None
    config: Config | None = None
    environments: tuple[Environment, ...] = ()
    machine: Machine | None = None
    writers: tuple[Process, ...] = ()
    cells: tuple[Cell, ...] = ()
    gaps: tuple[Gap, ...] = ()
    folders: tuple[str, ...] = ()
    verdict: dict[str, Any] | None = None

    @property
    def environment(self) -> Environment | None:
        """The environment at the end of the run: a superset of what each cell had."""
        return self.environments[-1] if self.environments else None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Run:
        """Build a run from ``to_dict()``'s form.

        Raises:
            SchemaError: the record has another major schema version.
            TypeError: a value has the wrong type.
        """
        version = str(data.get("schema", SCHEMA))
        if version.partition(".")[0] != SCHEMA.partition(".")[0]:
            raise SchemaError(version)
        return super(Run, cls).from_dict(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Record):
    """One thing that is not the same in two runs.

    ``what`` is "source", "output", "status", "read", "write", "metric", "assumption", "param", "config",
    "random", "missing" or "extra"; ``where`` names it (a path, an output's number and type, a key); ``before`` and
    ``after`` are short; ``detail`` may be a longer readable difference.
    """

    what: str
    where: str
    before: str = ""
    after: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellVerdict(Record):
    """How one cell of a run (``cell``, a ``Cell.seq``) compares with the same cell of another.

    ``rules`` names the comparison rules that made unequal bytes equivalent.
    """

    cell: int
    verdict: str
    rules: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict(Record):
    """How one file used in ``cell`` compares; ``before`` and ``after`` are digests."""

    path: str
    access: str
    cell: int
    verdict: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence(Record):
    """The first cell that differs, the most likely cause, and the difference in one line."""

    cell: int
    cause: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """The outcome of comparing ``replay`` with ``run``.

    ``verdict`` is "identical", "equivalent", "diverged" or "unreplayable". ``environment`` lists
    packages that differ, one line each; ``code`` lists files of the two snapshots that differ, where
    it was looked up. ``reasons`` says why a run is unreplayable.
    """

    verdict: str
    run: str
    replay: str | None = None
    first_divergence: Divergence | None = None
    cells: tuple[CellVerdict, ...] = ()
    files: tuple[FileVerdict, ...] = ()
    environment: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
