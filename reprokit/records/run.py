"""The records that make up a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from reprokit.digest import canonical_json
from reprokit.errors import SchemaError
from reprokit.records.base import Record

__all__ = [
    "SCHEMA",
    "Assumption",
    "Capture",
    "Cell",
    "Checkpoint",
    "CodeState",
    "Config",
    "Distribution",
    "Environment",
    "FileUse",
    "Gap",
    "Library",
    "Machine",
    "Metric",
    "Module",
    "Process",
    "RandomState",
    "RemoteUse",
    "Resources",
    "Run",
]

SCHEMA = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Record):
    """Something that could not be observed or stored, told at once with what to do about it.

    ``blocks`` says that a replay could not be exact because of it. ``cell`` is a ``Cell.seq``. ``path`` and
    ``digest`` name the file, as in ``FileUse``, when the gap is that these bytes are not kept: it is settled
    once they are. ``settled`` says what was done about it at once, such as "stored as a wheel".
    """

    aspect: str
    message: str
    remedy: str = ""
    cell: int | None = None
    blocks: bool = False
    path: str | None = None
    digest: str | None = None
    settled: str = ""


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
    ``own`` says of a read that the run had written the file before it read it. When ``files`` is not 0, the
    path is a folder used as one dataset (it ends with "/"): ``files`` counts what was used of it and ``digest``
    is of its manifest, a JSON list of the ``FileUse`` of each file.
    """

    path: str
    access: str
    size: int | None = None
    digest: str | None = None
    stored: str = "none"
    state: str = "stable"
    source: str = ""
    own: bool = False
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Module(Record):
    """A module that was imported from a place that is neither the environment's nor the project's.

    ``name`` is a top-level name, ``place`` the folder or archive that it was found in (absolute). ``files`` are
    its source and what lies beside it in its package, ``path`` relative to ``place`` (to the archive's folder
    for an archive). ``cell`` is the first cell that had it like this. ``distribution`` names the editable
    installation that it belongs to, if any.
    """

    name: str
    place: str
    files: tuple[FileUse, ...] = ()
    cell: int | None = None
    distribution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUse(Record):
    """Data that a cell got from, or sent to, another machine through a library.

    ``kind`` is "http", "storage" (an object store, by fsspec) or "sql"; ``access`` is "read" or "write".
    ``url`` is an address or data source name without secrets; ``query`` is the SQL that was run.
    ``version`` is what the other side says names these bytes for good (a version id, an ETag, a
    Last-Modified). ``digest`` and ``size`` (bytes) are of the bytes, where they came through Python;
    for a query ``digest`` is of its result and ``rows`` counts it. ``stored`` is as in ``FileUse``.
    """

    kind: str
    access: str
    url: str
    query: str | None = None
    version: str | None = None
    size: int | None = None
    rows: int | None = None
    digest: str | None = None
    stored: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Record):
    """What a cell or a run used: ``cpu_s`` is processor time in seconds, of children too.

    ``peak_memory`` is the largest resident memory of the process so far, ``read_bytes`` and ``written_bytes``
    count what went through read() and write() calls, ``gpu_memory`` is the most that was allocated on GPUs so far,
    all in bytes. ``cost`` is of the time by the clock at the configured price, in its ``currency``.
    """

    cpu_s: float | None = None
    peak_memory: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    gpu_memory: int | None = None
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Library(Record):
    """A shared library of the system, or of a package, that numbers may hang on: BLAS, OpenMP, CUDA, libc.

    ``kind`` is "blas", "openmp", "cuda", "libc" or "other"; ``detail`` holds what it says of itself (threads,
    architecture, threading layer).
    """

    name: str
    kind: str
    path: str = ""
    version: str | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomState(Record):
    """The state of all known generators at one point of a cell.

    ``at`` is "start", "end", or "import <module>" for a library first imported inside the cell.
    ``states`` maps a generator ("random", "numpy", "torch", "variable rng") to the digest of the
    object that holds its state. What of a state changes with each draw stands in ``positions``: the place in the
    words of a Mersenne Twister, the second of a pair of normal numbers, all of a small one.
    ``entropy`` is the hexadecimal root from which generators that the
    cell created without a seed were seeded. ``draws``, at the end, counts for each generator whose state the
    cell changed the words it gave out: of 32 bits for a Mersenne Twister (``random``, numpy's global one, torch
    on the CPU), of 64 for numpy's PCG64 and Philox. One number drawn takes one word or more. -1: not known
    (seeded anew, more than can be counted, or a generator that does not count).
    """

    at: str
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    positions: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    entropy: str | None = None
    draws: dict[str, int] = dataclasses.field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return the state of a generator as one text: the same for equal states only."""
        position = self.positions.get(name)
        return self.states[name] if position is None else f"{self.states[name]} {canonical_json(position).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Record):
    """Configuration by flat key, each with where it came from; secrets are already redacted."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(Record):
    """One installed distribution.

    ``origin`` is "index", "vcs", "local" (a wheel, sdist or folder), "editable", "conda" or "unknown";
    ``url`` and ``commit`` come from its ``direct_url.json`` (PEP 610), or the ``url`` of conda's package, with
    channel and build, from ``conda-meta``. ``content`` is a digest of what is installed, for a local one: the
    same version can be built twice from different sources. So it is for one that was changed by hand.
    A package of conda's that is no distribution is named ``conda:NAME``.
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

    ``hash_seed`` is PYTHONHASHSEED ("random" when it was not fixed) and ``hash_secret`` the key (hexadecimal)
    that this process's string hashes follow from; ``threads`` holds the thread-limit environment variables
    that were set. ``memory`` is in bytes. ``system_packages`` counts the system's own packages by their
    manager, with a digest of their list, such as {"dpkg": "402 sha256:…"}.
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
    hash_secret: str | None = None
    distribution: str = ""
    system_packages: dict[str, str] = dataclasses.field(default_factory=dict)


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
class Checkpoint(Record):
    """The kernel's state after a cell, kept so that the run can be resumed: ``size`` in bytes, and what it took.

    Its digest is not here: it stays no longer than the run can be resumed, and does not travel.
    """

    size: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Record):
    """One execution of one cell.

    ``seq`` counts from 1 in the order in which things happened; ``source`` is what the user typed.
    ``status`` is "running", "done", "failed" or "interrupted". ``entered`` is "start", or "inside"
    when the run began in the middle of the cell; ``observed`` is False for cells that ran before
    the run began (known by their source alone). ``outputs`` is the digest of a JSON list of
    nbformat outputs. ``answers`` are the lines given to ``input()``. ``network`` lists the hosts
    contacted and ``remote`` the data that came from or went to them. ``environment`` is an
    ``Environment.fingerprint``. ``started`` is in seconds after the epoch. ``edits`` are the project's code files
    that somebody else than the run changed since the cell before began (``state`` "missing": removed), as they
    were when this cell began; ``code`` is the ``CodeState.snapshot`` made soon after, None when no code had
    changed. ``head`` is the commit, and the branch if any, that was checked out, when another one had been before.
    ``skipped`` are the commands of the cell that a replay did not repeat, because they install packages.
    ``checkpoint`` was kept after the cell. ``restored`` says that the cell was not executed in this run: its record
    is that of the run that this one was resumed from.
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
    remote: tuple[RemoteUse, ...] = ()
    environment: str | None = None
    resources: Resources | None = None
    edits: tuple[FileUse, ...] = ()
    code: str | None = None
    head: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    checkpoint: Checkpoint | None = None
    restored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Record):
    """One experiment, as recorded.

    ``kind`` is "session" (``%repro start``), "block" (a ``with`` block or ``%%repro``), "batch" (one
    execution of a notebook) or "replay". ``status`` is "running", "done", "failed" or "interrupted";
    ``reason`` says why it is not "done". ``started`` and ``ended`` are seconds after the epoch.
    ``root`` is the project root, ``cwd`` the working directory. ``writers`` are the processes that
    wrote its journals. ``front`` is what the user sat at: "kernel", "terminal" or "script".
    ``folders`` are folders that existed before the run wrote into them (relative to ``root``).
    ``code`` is the tree as it was at the start, ``codes`` are those of cells before which code had changed.
    ``modules`` are what was imported from outside the environment and the project.
    ``origin`` is the remote that it was pulled from; None when it was made here.
    ``pin`` is the name that it is pinned under, to be checked again and again; None when it is not.
    ``verdict`` is set on replays, and so is ``conditions``: what the replay was run under.
    ``step`` is what a batch run was asked to be, by part (see ``pipeline.key``): later ones are compared with it.
    ``reuse_of`` is the run whose results were put in place, where nothing was run.
    ``sweep`` is the sweep that it belongs to, and ``point`` the number of its point there.
    ``resumed_from`` is the run from whose checkpoint it went on.
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
    codes: tuple[CodeState, ...] = ()
    modules: tuple[Module, ...] = ()
    config: Config | None = None
    environments: tuple[Environment, ...] = ()
    machine: Machine | None = None
    libraries: tuple[Library, ...] = ()
    resources: Resources | None = None
    writers: tuple[Process, ...] = ()
    cells: tuple[Cell, ...] = ()
    gaps: tuple[Gap, ...] = ()
    folders: tuple[str, ...] = ()
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)
    origin: str | None = None
    pin: str | None = None
    step: dict[str, Any] = dataclasses.field(default_factory=dict)
    reuse_of: str | None = None
    sweep: str | None = None
    point: int | None = None
    resumed_from: str | None = None
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
