"""Views: whole texts where they are the promise, and that nothing a run recorded can act on its reader."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from reprokit.errors import ObjectMissing, UsageError
from reprokit.records import (
    Assumption,
    Capture,
    Cell,
    CellVerdict,
    CodeState,
    Difference,
    Distribution,
    Divergence,
    Environment,
    FileUse,
    FileVerdict,
    Gap,
    Machine,
    Metric,
    RandomState,
    Run,
    Verdict,
)
from reprokit.records.replayable import replayable
from reprokit.views.html import runs_html, show_html, status_html, verdict_html
from reprokit.views.json import run_json, summary, summary_json, verdict_json
from reprokit.views.status import started_line, status_text, stopped_line
from reprokit.views.text import runs_table, show_run, verdict_headline, verdict_text

STARTED = 1_777_800_000.0
LOCAL = datetime.fromtimestamp(STARTED).strftime("%Y-%m-%d %H:%M:%S")
A, B = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32

RUN = Run(
    id="20260503-140211-abcd2345",
    name="baseline",
    status="done",
    started=STARTED,
    ended=STARTED + 192,
    notebook="work/train.ipynb",
    root="/work",
    cwd="/work",
    params={"lr": 0.1, "optimizer": "adam"},
    tags={"team": "ml"},
    notes=("first try",),
    metrics=(Metric(key="accuracy", value=0.9123456789, cell=2),),
    assumptions=(Assumption(text="no negative price", holds=True), Assumption(text="prices are in EUR")),
    capture=Capture(tier="watch", complete=False, reasons=("no native recorder",)),
    code=CodeState(
        kind="git",
        repository="/work/.git",
        ref="refs/reprokit/x",
        snapshot="c" * 40,
        tree="t" * 40,
        top="/work",
        commit="d" * 40,
        branch="main",
        dirty=True,
    ),
    environments=(
        Environment(
            fingerprint="f" * 64,
            python="3.11.4",
            implementation="CPython",
            executable="/e/bin/python",
            prefix="/e",
            distributions=(Distribution(name="numpy", version="2.1.0"),),
        ),
    ),
    machine=Machine(
        system="Linux",
        release="6",
        architecture="x86_64",
        libc="",
        cpu="c",
        cores=8,
        memory=None,
        hash_seed="0",
    ),
    cells=(
        Cell(seq=1, source="import numpy as np\n", status="done", duration_s=0.012),
        Cell(
            seq=2,
            source="\ndf = load()\nfit(df)",
            status="done",
            duration_s=3.21,
            reads=(FileUse(path="data/train.csv", access="read", size=1_234_567, digest=A, stored="object"),),
            writes=(FileUse(path="model.pkl", access="write", size=512, digest=B, stored="none", state="unstable"),),
            random=(RandomState(at="start", states={"numpy": A}),),
            network=("example.org",),
            outputs=A,
        ),
    ),
    gaps=(
        Gap(
            aspect="data",
            message="model.pkl changed while it was hashed",
            remedy="close it in the cell",
            cell=2,
            blocks=True,
        ),
        Gap(aspect="code", message="a submodule is not cloned"),
    ),
)
PLAIN = Run(
    id="20260503-140211-abcd2345",
    status="done",
    cells=RUN.cells[:1],
    capture=Capture(tier="complete", complete=True),
)

SAME = Verdict(
    verdict="identical",
    run="a",
    replay="b",
    cells=tuple(CellVerdict(cell=n, verdict="identical") for n in range(1, 15)),
    files=tuple(FileVerdict(path=f"{n}.csv", access="read", cell=1, verdict="identical") for n in range(9)),
)
EQUIVALENT = Verdict(
    verdict="equivalent",
    run="a",
    replay="b",
    cells=(
        CellVerdict(cell=1, verdict="identical"),
        CellVerdict(
            cell=2,
            verdict="equivalent",
            rules=("durations", "read set"),
            differences=(Difference(what="read", where="cache.bin", before="3 bytes", after="absent"),),
        ),
    ),
    rules=("durations", "read set"),
)
DIVERGED = Verdict(
    verdict="diverged",
    run="a",
    replay="b",
    first_divergence=Divergence(cell=7, cause="data", difference="data/train.csv changed"),
    cells=(
        *(CellVerdict(cell=n, verdict="identical") for n in range(1, 7)),
        CellVerdict(
            cell=7,
            verdict="diverged",
            cause="data",
            differences=(
                Difference(
                    what="read",
                    where="data/train.csv",
                    before="4 bytes, a1a1",
                    after="4 bytes, b2b2",
                    detail="@@ line 1 @@\n a\n-1\n+2",
                ),
                Difference(what="output", where="output 1 (text/plain)", before="0.912", after="0.905"),
            ),
        ),
        CellVerdict(cell=8, verdict="diverged", consequence_of=7),
        CellVerdict(cell=9, verdict="diverged", consequence_of=7),
        CellVerdict(
            cell=10,
            verdict="diverged",
            cause="time",
            differences=(Difference(what="output", where="output 1 (stdout)", before="09:00", after="14:02"),),
        ),
        CellVerdict(
            cell=0,
            verdict="diverged",
            differences=(Difference(what="metric", where="accuracy", before="0.912", after="0.905"),),
        ),
    ),
    environment=("numpy 1.26.4 → 2.1.0",),
)


# --- text --------------------------------------------------------------------------------------------


def test_no_runs_says_how_to_make_one() -> None:
    assert runs_table([]) == (
        "No runs yet. `%repro start` in a notebook or `reprokit run NOTEBOOK` captures the first."
    )


def test_runs_are_aligned() -> None:
    replay = {"id": "20260504-090000-zzzz2345", "status": "running", "replay_of": RUN.id}
    lines = runs_table([summary(RUN), replay], width=160).splitlines()
    started = LOCAL[:16]
    assert [line.split("  ", 1)[0] for line in lines] == ["run", RUN.id, "20260504-090000-zzzz2345"]
    assert [line[26:] for line in lines] == [
        "name                 notebook     status   started           cells  metrics",
        f"baseline             train.ipynb  done     {started}      2  accuracy=0.912346",
        "replay of …abcd2345               running",
    ]
    assert all(len(line) <= 60 for line in runs_table([summary(RUN), replay], width=60).splitlines())


def test_a_run_in_full() -> None:
    assert (
        show_run(RUN)
        == f"""\
run 20260503-140211-abcd2345  baseline
  status     done
  kind       session
  notebook   work/train.ipynb
  started    {LOCAL}, took 3 min 12 s
  folder     /work
  captured   watch (no native recorder); a kernel from `reprokit install` sees every file
  replay     would not be exact (see gaps)
  code       dddddddddddd on main with uncommitted changes, kept as cccccccccccc
  python     3.11.4 with 1 package
  machine    Linux x86_64, 8 cores
  hash seed  0

parameters
  lr         0.1
  optimizer  adam

metrics
  accuracy  0.912346

tags
  team  ml

notes
  first try

assumptions
  no negative price (holds)
  prices are in EUR (stated)

data read
  data/train.csv  1.2 MB  a1a1a1a1a1a1  kept

data written
  model.pkl  512 B  b2b2b2b2b2b2  not kept, unstable

cells
  1  done  12 ms  import numpy as np
  2  done  3.2 s  df = load()

gaps
  - cell 2: model.pkl changed while it was hashed
    → close it in the cell
  - a submodule is not cloned"""
    )


def test_one_cell_in_full() -> None:
    assert (
        show_run(RUN, cell=2)
        == """\
cell 2 (done, 3.2 s)

    df = load()
    fit(df)

data read
  data/train.csv  1.2 MB  a1a1a1a1a1a1  kept

data written
  model.pkl  512 B  b2b2b2b2b2b2  not kept, unstable

random generators
  numpy at start  a1a1a1a1a1a1

hosts contacted
  example.org"""
    )


@pytest.mark.parametrize("view", [show_run, show_html])
def test_a_cell_that_is_not_there(view: Any) -> None:
    with pytest.raises(UsageError, match=r"has no cell 9: its cells are 1 to 2"):
        view(RUN, cell=9)


def test_a_run_with_nothing_in_it() -> None:
    text = show_run(Run(id="x"))
    assert text.splitlines()[0] == "run x"
    assert "None" not in text


# --- status ------------------------------------------------------------------------------------------


def test_status_of_a_run_that_would_not_replay() -> None:
    assert (
        status_text(RUN)
        == """\
Would this run replay? Not exactly: 1 thing prevents it.
  - cell 2: model.pkl changed while it was hashed
    → close it in the cell

Good to know:
  - a submodule is not cloned

run       20260503-140211-abcd2345 (baseline), done
cells     2
last cell 2: df = load() (done, 3.2 s)
files     1 file read, 1 written
capture   watch (no native recorder); a kernel from `reprokit install` sees every file
code      dddddddddddd (with uncommitted changes)
packages  Python 3.11.4, 1 package"""
    )


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (PLAIN, "Would this run replay? Yes."),
        (dataclasses.replace(PLAIN, cells=()), "Would this run replay? Nothing has run yet."),
        (dataclasses.replace(RUN, gaps=()), "Would this run replay? Yes, as far as it could be observed."),
    ],
)
def test_the_answer_never_promises_too_much(run: Run, answer: str) -> None:
    assert status_text(run).splitlines()[0] == answer
    assert replayable(run)


def test_one_line_at_the_start_and_one_at_the_end() -> None:
    assert started_line(RUN) == "reprokit: capturing run 20260503-140211-abcd2345 (baseline)"
    assert stopped_line(RUN) == (
        "reprokit: done, 2 cells, 1 file read, 1 written; "
        "1 thing would keep a replay from being exact (`%repro status`)"
    )
    assert stopped_line(PLAIN).endswith("`reprokit replay 20260503-140211-abcd2345` repeats it")


# --- verdicts ----------------------------------------------------------------------------------------


def test_an_identical_replay_is_one_line() -> None:
    assert verdict_text(SAME) == "identical: 14 of 14 cells, 9 files"


def test_an_equivalent_replay_says_by_which_rules() -> None:
    assert (
        verdict_text(EQUIVALENT, restored=["code: 41 files"])
        == """\
equivalent: 2 of 2 cells, 0 files, allowing for durations, read set

cells
  1  identical
  2  equivalent  durations, read set

noticed, without effect on the results
  cell 2: cache.bin (read): 3 bytes → absent

restored
  code: 41 files"""
    )


def test_a_diverged_replay_names_cell_cause_and_difference() -> None:
    assert (
        verdict_text(DIVERGED)
        == """\
diverged at cell 7: data/train.csv changed
  most likely cause: data

cell 7
  data/train.csv (read): 4 bytes, a1a1 → 4 bytes, b2b2
      @@ line 1 @@
       a
      -1
      +2
  output 1 (text/plain): 0.912 → 0.905
  and 2 cells that follow from it: 8–9

cells
  1–6  identical
  7    diverged   data
  8–9  diverged   follows from cell 7
  10   diverged   time

also different
  cell 10 (most likely cause: time)
    output 1 (stdout): 09:00 → 14:02

metrics that differ
  accuracy  0.912  →  0.905

packages that differ
  numpy 1.26.4 → 2.1.0"""
    )


def test_code_that_differs_is_listed_before_packages() -> None:
    verdict = dataclasses.replace(DIVERGED, code=("changed helper.py (+3 −1)", "added <b>.py"))
    assert verdict_text(verdict).endswith(
        """
code that differs
  changed helper.py (+3 −1)
  added <b>.py

packages that differ
  numpy 1.26.4 → 2.1.0"""
    )
    page = "<h4>code that differs</h4><ul><li>changed helper.py (+3 −1)</li><li>added &lt;b&gt;.py</li></ul>"
    assert page in verdict_html(verdict)
    assert verdict_json(verdict)["code"] == ["changed helper.py (+3 −1)", "added <b>.py"]


def test_other_headlines() -> None:
    whole = Verdict(
        verdict="diverged",
        run="a",
        first_divergence=Divergence(cell=0, cause="config", difference="param lr: 1 → 2"),
    )
    assert verdict_headline(whole) == "diverged: param lr: 1 → 2"
    blocked = Verdict(verdict="unreplayable", run="a", reasons=("data/big.bin is not kept",))
    assert verdict_text(blocked) == "unreplayable: data/big.bin is not kept"


# --- hostile content ---------------------------------------------------------------------------------

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y>\x1b[2J\x07\u202e\ud800\r\n&"


def poisoned(record: Any) -> Any:
    """Return a record with every text in it replaced by something hostile, the digests included."""
    if isinstance(record, tuple):
        return tuple(poisoned(item) for item in record)
    if isinstance(record, dict):
        return {HOSTILE + key: poisoned(item) for key, item in record.items()}
    if isinstance(record, str):
        return HOSTILE
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        changes = {field.name: poisoned(getattr(record, field.name)) for field in dataclasses.fields(record)}
        return dataclasses.replace(record, **changes)
    return record


BAD_RUN = poisoned(RUN)
CHANGED = dataclasses.replace(DIVERGED, code=("changed helper.py (+3 −1)",))
BAD_VERDICTS = [dataclasses.replace(poisoned(v), verdict=v.verdict) for v in (SAME, EQUIVALENT, DIVERGED, CHANGED)]
BAD_SUMMARY = summary(BAD_RUN)


def texts() -> list[str]:
    return [
        runs_table([BAD_SUMMARY], width=10_000),
        show_run(BAD_RUN),
        show_run(BAD_RUN, cell=2),
        status_text(BAD_RUN),
        started_line(BAD_RUN),
        stopped_line(BAD_RUN),
        *(verdict_text(verdict, restored=[HOSTILE]) for verdict in BAD_VERDICTS),
    ]


def pages() -> list[str]:
    return [
        runs_html([BAD_SUMMARY]),
        runs_html([]),
        show_html(BAD_RUN),
        show_html(BAD_RUN, cell=2),
        status_html(BAD_RUN),
        *(verdict_html(verdict, restored=[HOSTILE]) for verdict in BAD_VERDICTS),
    ]


@pytest.mark.parametrize("text", texts())
def test_no_text_can_move_the_cursor(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert "\\x1b" in text
    text.encode()  # a terminal or a file can take it


class Tags(HTMLParser):
    """Collects the tags and attributes of a page and checks that they are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("page", pages())
def test_no_page_can_run_anything(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    assert not tags.seen & {"script", "img", "iframe", "link", "a", "object"}
    assert tags.attributes == {"class"}
    assert "http" not in page  # nothing is fetched
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", page)


def test_pages_follow_the_theme_with_fallbacks() -> None:
    page = status_html(RUN)
    assert "var(--jp-ui-font-color1,inherit)" in page
    assert all("," in variable for variable in re.findall(r"var\(([^)]*)\)", page))
    assert "1 thing prevents it" in page
    assert "→ close it in the cell" in page


def test_a_page_holds_the_same_words() -> None:
    page = verdict_html(DIVERGED)
    assert "diverged at cell 7: data/train.csv changed" in page
    assert "<pre>@@ line 1 @@\n a\n-1\n+2</pre>" in page


# --- json --------------------------------------------------------------------------------------------


def test_runs_json_has_exactly_the_documented_keys() -> None:
    assert summary_json({**summary(RUN), "path": "/secret"}) == {
        "id": "20260503-140211-abcd2345",
        "name": "baseline",
        "kind": "session",
        "status": "done",
        "started": STARTED,
        "ended": STARTED + 192,
        "notebook": "work/train.ipynb",
        "params": {"lr": 0.1, "optimizer": "adam"},
        "metrics": {"accuracy": 0.9123456789},
        "tags": {"team": "ml"},
        "replay_of": None,
        "reuse_of": None,
        "resumed_from": None,
        "sweep": None,
        "point": None,
        "pin": None,
        "capture": {"tier": "watch", "complete": False},
        "replayable": False,
        "cells": 2,
    }


def test_show_json_holds_the_cells_with_their_outputs() -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": "hi"}]
    shown = run_json(RUN, lambda digest: outputs)
    documented = {"seq", "cell_id", "source", "status", "outputs", "reads", "writes", "random"}
    documented |= {"environment", "network", "duration_s"}
    assert documented <= shown["cells"][0].keys()
    assert {"code", "config", "environment", "machine", "gaps"} <= shown.keys()
    assert [cell["outputs"] for cell in shown["cells"]] == [[], outputs]
    assert shown["environment"]["python"] == "3.11.4"
    assert json.loads(json.dumps(shown)) == shown


def test_show_json_without_an_object_says_null() -> None:
    def gone(digest: str) -> list[Any]:
        raise ObjectMissing(digest)

    cell = run_json(RUN, gone)["cells"][1]
    assert (cell["outputs"], cell["outputs_digest"]) == (None, A)


def test_json_is_json_even_for_numbers_it_does_not_know() -> None:
    run = dataclasses.replace(
        RUN, metrics=(Metric(key="loss", value=float("nan")), Metric(key="x", value=-float("inf")))
    )
    shown = summary_json(summary(run))
    assert shown["metrics"] == {"loss": "NaN", "x": "-Infinity"}
    json.dumps(shown, allow_nan=False)


def test_verdict_json_has_the_documented_keys() -> None:
    shown = verdict_json(DIVERGED)
    assert {
        "verdict",
        "run",
        "replay",
        "first_divergence",
        "cells",
        "files",
        "environment",
        "rules",
    } <= shown.keys()
    assert shown["first_divergence"] == {"cell": 7, "cause": "data", "difference": "data/train.csv changed"}
