"""Laws: assembling is a function, records round-trip, an index built again is the same index."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reprokit.digest import canonical_json
from reprokit.records import Run
from reprokit.store.assemble import assemble
from reprokit.store.index import Index
from reprokit.store.journal import Journal, scan
from reprokit.store.layout import Layout, new_run_id
from reprokit.store.objects import Objects
from reprokit.store.store import Store

ID = "20250102-030405-abcdefgh"
TEXT = st.text(st.characters(), max_size=8)  # lone surrogates too
NUMBER = st.floats()
LEAF = st.none() | st.booleans() | st.integers() | NUMBER | TEXT
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=4
)
STATUS = st.sampled_from(["running", "done", "failed", "interrupted"])
USE = st.fixed_dictionaries(
    {"path": st.sampled_from(["a", "b", "ü\udc80"]), "access": st.sampled_from(["read", "write"])},
    optional={
        "size": st.none() | st.integers(0),
        "stored": st.sampled_from(["git", "object", "none"]),
        "state": st.sampled_from(["stable", "unstable", "missing", "pending"]),
    },
)
GAP = st.fixed_dictionaries({"aspect": TEXT, "message": TEXT}, optional={"blocks": st.booleans()})
WRITER = st.fixed_dictionaries(
    {"host": st.just("elsewhere"), "boot": TEXT, "pid": st.integers(1, 9), "started": st.integers(0, 9)}
)
RUN_FIELDS = {
    "name": st.none() | TEXT,
    "kind": st.sampled_from(["session", "batch", "replay"]),
    "status": STATUS,
    "reason": st.none() | TEXT,
    "started": st.floats(0, 2e9),
    "notebook": st.none() | TEXT,
    "params": st.dictionaries(TEXT, VALUE, max_size=3),
    "tags": st.dictionaries(TEXT, TEXT, max_size=2),
    "capture": st.fixed_dictionaries({"tier": TEXT}, optional={"complete": st.booleans()}),
}
RUN_LISTS = {
    "notes": st.lists(TEXT, max_size=2),
    "metrics": st.lists(st.fixed_dictionaries({"key": TEXT, "value": LEAF}), max_size=2),
    "gaps": st.lists(GAP, max_size=2),
    "writers": st.lists(WRITER, max_size=2),
    "artifacts": st.lists(USE, max_size=3),
}
CELL_FIELDS = {"source": TEXT, "status": STATUS, "duration_s": st.floats(0, 10), "error": st.none() | TEXT}
CELL_LISTS = {"reads": st.lists(USE, max_size=3), "writes": st.lists(USE, max_size=3)}


def _patch(fields: dict[str, Any], lists: dict[str, Any]) -> dict[str, Any]:
    some = st.fixed_dictionaries({}, optional=fields)
    return {"set": some, "fill": some, "add": st.fixed_dictionaries({}, optional=lists)}


TIME = {"t": st.floats(0, 2e9)}
PATCH = st.fixed_dictionaries(TIME, optional=_patch(RUN_FIELDS, RUN_LISTS)) | st.fixed_dictionaries(
    {**TIME, "cell": st.integers(1, 4)}, optional=_patch(CELL_FIELDS, CELL_LISTS)
)
PATCHES = st.lists(PATCH, max_size=8)


@given(PATCHES, PATCHES)
def test_assembling_is_a_function_that_leaves_its_input_alone(agent: Any, batch: Any) -> None:
    kept = copy.deepcopy((agent, batch))
    first = assemble(ID, agent, batch, lambda process: None)
    assert repr((agent, batch)) == repr(kept)
    assert repr(first) == repr(assemble(ID, agent, batch, lambda process: None))


@given(PATCHES, PATCHES)
def test_an_assembled_run_makes_the_round_trip(agent: Any, batch: Any) -> None:
    run = assemble(ID, agent, batch)
    assert repr(run.validate()) == repr(run)
    again = Run.from_dict(json.loads(canonical_json(run.to_dict())))
    assert canonical_json(again.to_dict()) == canonical_json(run.to_dict())


@given(PATCHES)
def test_one_patch_that_tells_a_whole_run_gives_that_run(agent: Any) -> None:
    run = assemble(ID, agent, (), lambda process: None)
    fields = {key: value for key, value in run.to_dict().items() if key != "cells"}
    cells = [{"cell": cell.seq, "set": cell.to_dict()} for cell in run.cells]
    assert repr(assemble(ID, [{"set": fields}, *cells], (), lambda process: None)) == repr(run)


@given(PATCHES)
def test_a_journal_gives_back_its_patches(patches: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        for patch in patches:
            journal.append(patch)
        journal.close()
        assert canonical_json(scan(journal.path)) == canonical_json([patches, None])


@given(PATCHES.filter(len), st.data())
def test_harm_at_any_place_leaves_a_true_beginning(patches: Any, data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        for patch in patches:
            journal.append(patch)
        journal.close()
        content = bytearray(journal.path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        journal.path.write_bytes(content)
        found, _ = scan(journal.path)
        before = bytes(content[:position]).count(b"\n")
        assert canonical_json(found) == canonical_json(patches[:before])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(PATCHES, min_size=1, max_size=3), max_size=4))
def test_an_index_kept_up_is_an_index_built_again(runs: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Layout(Path(folder), Path(folder) / ".reprokit"), Store.open(Path(folder)).settings)
        open_journals = []
        for number, stages in enumerate(runs):
            _, journal = store.new_run(run_id=new_run_id(float(number)))
            open_journals.append(journal)
            for patches in stages:
                for patch in patches:
                    journal.append(patch)
                store.runs()
        for journal in open_journals:
            journal.close()
        kept = repr(store.runs())
        assert store.reindex() == len(runs)
        assert repr(store.runs()) == kept
        memory = Index(store.layout, store.load)
        memory._in_memory, memory._seeded = True, False
        assert repr(memory.runs()) == kept


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6), st.booleans())
def test_objects_give_back_what_they_were_given(blobs: list[bytes], durable: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects(Path(folder) / "objects")
        digests = [objects.put_bytes(blob, durable=durable) for blob in blobs]
        objects.sync()
        assert [objects.get_bytes(digest) for digest in digests] == blobs
        assert len({*digests}) == len({*blobs})
