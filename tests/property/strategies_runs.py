"""Runs for property tests, with the objects that they name."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from reprokit import digest
from reprokit.errors import ObjectMissing
from reprokit.records import (
    Assumption,
    Cell,
    Config,
    Distribution,
    Environment,
    FileUse,
    Gap,
    Machine,
    Metric,
    RandomState,
    Run,
)

__all__ = ["Case", "cases", "pairs"]

words = st.text(min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
paths = st.sampled_from(["a.csv", "b.txt", "out/c.svg", "/tmp/tmpabcd1234/d.json", "e.png", "f.pkl", "g.py"])
statuses = st.sampled_from(["done", "failed", "interrupted", "running"])
digests = st.binary(max_size=3).map(digest.of_bytes)
streams = st.builds(
    lambda name, text: {"output_type": "stream", "name": name, "text": text},
    st.sampled_from(["stdout", "stderr"]),
    st.text(max_size=20),
)
displays = st.builds(
    lambda mime, text: {"output_type": "display_data", "data": {mime: text}, "metadata": {}},
    st.sampled_from(["text/plain", "text/html", "image/svg+xml", "image/png", "application/json"]),
    st.text(max_size=20),
)
errors = st.builds(
    lambda name, text: {"output_type": "error", "ename": name, "evalue": text, "traceback": [text]},
    words,
    words,
)


@dataclass(frozen=True)
class Case:
    """A run and the contents of the objects it names; some are not there, as in a real store."""

    run: Run
    objects: dict[str, bytes]

    def read(self, name: str) -> bytes:
        if name not in self.objects:
            raise ObjectMissing(name)
        return self.objects[name]

    def put(self, data: bytes) -> str:
        name = digest.of_bytes(data)
        self.objects[name] = data
        return name

    def with_cell(self, index: int, **fields: Any) -> Run:
        """Return the run with fields of one cell changed."""
        cells = list(self.run.cells)
        cells[index] = dataclasses.replace(cells[index], **fields)
        return dataclasses.replace(self.run, cells=tuple(cells))


def uses(access: str) -> st.SearchStrategy[tuple[FileUse, ...]]:
    one = st.builds(
        FileUse,
        path=paths,
        access=st.just(access),
        size=st.none() | st.integers(0, 10**12),
        digest=st.none() | digests,
        state=st.sampled_from(["stable", "unstable", "missing", "pending"]),
    )
    return st.lists(one, max_size=3).map(tuple)


random_states = st.builds(
    RandomState,
    at=st.sampled_from(["start", "end", "import torch"]),
    states=st.dictionaries(st.sampled_from(["random", "numpy", "torch"]), digests, max_size=3),
    positions=st.dictionaries(
        st.sampled_from(["random", "numpy"]), st.fixed_dictionaries({"position": st.integers(0, 624)})
    ),
    entropy=st.none() | st.just("ab12"),
)
environments = st.builds(
    Environment,
    fingerprint=words,
    python=st.sampled_from(["3.11.4", "3.12.0"]),
    implementation=st.just("CPython"),
    executable=words,
    prefix=st.sampled_from(["/env/a", "/env/b"]),
    distributions=st.lists(st.builds(Distribution, name=words, version=words), max_size=3).map(tuple),
)
machines = st.builds(
    Machine,
    system=st.just("Linux"),
    release=words,
    architecture=st.sampled_from(["x86_64", "aarch64"]),
    libc=words,
    cpu=words,
    cores=st.integers(1, 64),
    memory=st.none() | st.integers(0, 10**12),
    hash_seed=st.sampled_from(["0", "random"]),
    threads=st.dictionaries(st.just("OMP_NUM_THREADS"), st.sampled_from(["1", "4"])),
)


@st.composite
def _cell(draw: st.DrawFn, seq: int, objects: dict[str, bytes]) -> Cell:
    outputs = draw(st.none() | st.lists(streams | displays | errors, max_size=3))
    stored = None
    if outputs is not None:
        data = json.dumps(outputs).encode()
        stored = digest.of_bytes(data)
        if draw(st.integers(0, 9)):  # one in ten objects is gone
            objects[stored] = data
    return Cell(
        seq=seq,
        source=draw(st.sampled_from(["import numpy", "x = f()", "print(x)", "time.time()", ""])),
        status=draw(statuses),
        entered=draw(st.sampled_from(["start", "inside"])),
        observed=draw(st.integers(0, 9)) > 0,
        error=draw(st.none() | words),
        random=tuple(draw(st.lists(random_states, max_size=2))),
        reads=draw(uses("read")),
        writes=draw(uses("write")),
        outputs=stored,
        network=tuple(draw(st.lists(words, max_size=1))),
    )


@st.composite
def cases(draw: st.DrawFn, *, min_cells: int = 0) -> Case:
    """Return a run of a few cells; any optional part may be missing."""
    objects = {digest.of_bytes(data): data for data in (b"", b"a", b"\0")}
    count = draw(st.integers(min_cells, 4))
    seqs = st.none() | st.integers(1, max(count, 1))
    run = Run(
        id=draw(st.sampled_from(["run-a", "run-b"])),
        status=draw(statuses),
        reason=draw(st.none() | words),
        root=draw(st.sampled_from(["", "/", "/work", "/home/ada/p"])),
        cwd=draw(st.sampled_from(["", "/work/sub"])),
        params=draw(st.dictionaries(words, scalars, max_size=2)),
        metrics=tuple(draw(st.lists(st.builds(Metric, key=words, value=scalars, cell=seqs), max_size=2))),
        assumptions=tuple(
            draw(st.lists(st.builds(Assumption, text=words, holds=st.none() | st.booleans(), cell=seqs), max_size=2))
        ),
        artifacts=draw(uses("write")),
        config=draw(st.none() | st.builds(Config, values=st.dictionaries(words, scalars, max_size=2))),
        environments=tuple(draw(st.lists(environments, max_size=1))),
        machine=draw(st.none() | machines),
        gaps=tuple(
            draw(
                st.lists(
                    st.builds(Gap, aspect=words, message=words, remedy=words, blocks=st.booleans()),
                    max_size=2,
                )
            )
        ),
        cells=tuple(draw(_cell(seq, objects)) for seq in range(1, count + 1)),
    )
    return Case(run=run, objects=objects)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Case, Case]:
    """Return two runs over the same objects: unlike, or like but for some fields."""
    left, right = draw(cases()), draw(cases())
    objects = {**left.objects, **right.objects}
    run = right.run
    if draw(st.booleans()):
        taken = draw(st.sets(st.sampled_from(["root", "config", "machine", "environments", "status", "metrics"])))
        cells = tuple(draw(_variant(ours, theirs)) for ours, theirs in zip(left.run.cells, run.cells, strict=False))
        fields = {name: getattr(run, name) for name in taken}
        run = dataclasses.replace(left.run, cells=cells + left.run.cells[len(cells) :], **fields)
    return Case(run=left.run, objects=objects), Case(run=run, objects=objects)


@st.composite
def _variant(draw: st.DrawFn, ours: Cell, theirs: Cell) -> Cell:
    taken = draw(st.sets(st.sampled_from(["random", "reads", "writes", "outputs", "error"]), max_size=2))
    return dataclasses.replace(ours, **{name: getattr(theirs, name) for name in taken})
