"""Gates: what a threshold says, when a metric reaches it, and in what a table is not as another one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.digest import of_bytes
from reprokit.errors import UsageError
from reprokit.pipeline.gates import Gate, Gates, judge, parse_threshold, read_gates
from reprokit.pipeline.tables import Limits, differences
from reprokit.records import Assumption, Cell, FileUse, Metric, Run
from reprokit.store.objects import Objects

PINNED = pd.DataFrame(
    {
        "age": np.linspace(20, 60, 400),
        "city": np.resize(["Bern", "Oslo", "Rome", "Bern"], 400),
        "member": np.resize([True, False], 400),
        "since": pd.date_range("2020-01-01", periods=400, freq="D"),
        "id": [f"p{number}" for number in range(400)],
    }
)


def found(now: pd.DataFrame, **limits: float) -> list[str]:
    content = [frame.to_csv(index=False).encode() for frame in (PINNED, now)]
    return differences("people.csv", *content, Limits(**limits))  # type: ignore[arg-type]


def test_another_sample_of_the_same_is_as_before() -> None:
    assert found(PINNED.sample(300, random_state=1)) == []
    assert found(PINNED.assign(age=PINNED["age"] + 3)) == []
    assert found(PINNED.assign(age=PINNED["age"].where(PINNED.index % 40 > 0))) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.drop(columns="city"), "column city is gone"),
        (lambda frame: frame.assign(extra=1), "column extra is new"),
        (lambda frame: frame.assign(age=frame["age"].astype(str) + " y"), "age: holds texts in place of numbers"),
        (lambda frame: frame.assign(age=None), "age: holds no value any more"),
        (lambda frame: frame.assign(age=frame["age"].where(frame.index % 5 > 0)), "age: 20% missing, 0% before"),
        (
            lambda frame: frame.assign(age=frame["age"].where(frame.index > 0, 2000)),
            "age: lies between 20.1003",
        ),
        (lambda frame: frame.assign(age=frame["age"] / 2 + 30), "age: its distribution drifted"),
        (lambda frame: frame.assign(city="Bern"), "city: its kinds drifted"),
        (lambda frame: frame.assign(member=frame.index % 10 == 0), "member: its kinds drifted"),
        (lambda frame: frame.assign(since=frame["since"] - pd.Timedelta(days=4000)), "since: lies between"),
    ],
)
def test_what_changed_is_told(change: Callable[[pd.DataFrame], pd.DataFrame], told: str) -> None:
    texts = found(change(PINNED))
    assert any(text.startswith(told) for text in texts), texts


def test_what_is_allowed_is_a_choice() -> None:
    wider = PINNED.assign(age=PINNED["age"] / 2 + 30)
    assert found(wider) != []
    assert found(wider, drift=0.9) == []
    assert found(wider, ignore=frozenset({"age"})) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "feather", "jsonl"])
def test_each_format_is_read(suffix: str) -> None:
    def content(frame: pd.DataFrame) -> bytes:
        stream = io.BytesIO()
        if suffix == "jsonl":
            frame.to_json(stream, orient="records", lines=True)
        elif suffix in ("csv", "tsv"):
            frame.to_csv(stream, index=False, sep="," if suffix == "csv" else "\t")
        else:
            getattr(frame, f"to_{suffix}")(stream)
        return stream.getvalue()

    pinned = content(PINNED)
    assert (
        differences(f"a.{suffix}", pinned, content(PINNED.sample(200, random_state=2).reset_index(drop=True)), Limits())
        == []
    )
    (text,) = differences(f"a.{suffix}", pinned, content(PINNED.drop(columns="age")), Limits())
    assert text == "column age is gone"


def test_what_is_no_table_is_said() -> None:
    with pytest.raises(UsageError, match="cannot be read as a table"):
        differences("a.parquet", b"no", b"no", Limits())


# -- metrics --------------------------------------------------------------------------------------


def made(objects: Objects, content: dict[str, object], **fields: object) -> Run:
    data = json.dumps(content).encode()
    use = FileUse(path="out/metrics.json", access="write", digest=objects.put_bytes(data), stored="object")
    assert use.digest == of_bytes(data)
    values = {"status": "done", "cells": (Cell(seq=1, source="", writes=(use,)),), **fields}
    return Run(id="now", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("accuracy >= 0.9", True),
        ("accuracy > 0.9", False),
        ("accuracy == 9e-1", True),
        ("by_species.Adelie >= .8", False),
        ("out/metrics.json:accuracy >= 0.9", True),
        ("told <= 3", True),
        ("precision >= 0.1", False),
        ("name >= 0.1", False),
        ("nothing < 1", False),
        ("accuracy not worse than pinned", False),
        ("accuracy not worse than pinned - 0.05", True),
        ("accuracy not worse than pinned - 5 %", True),
        ("accuracy not worse than pinned - 1%", False),
        ("loss not worse than pinned + 0.1", True),
        ("loss not worse than pinned + 0", False),
    ],
)
def test_when_a_metric_reaches_its_threshold(tmp_path: Path, text: str, holds: bool) -> None:
    objects = Objects(tmp_path / "objects")
    content = {"accuracy": 0.9, "by_species": {"Adelie": 0.7}, "name": "x", "nothing": float("nan"), "loss": 0.3}
    run = made(objects, content, metrics=(Metric(key="told", value=3),))
    pinned = made(objects, {"accuracy": 0.94, "loss": 0.25})
    (gate,) = judge(objects, run, pinned, Gates(metrics=(parse_threshold(text),)))
    assert gate.holds is holds, gate


@given(st.text(max_size=30))
def test_a_threshold_is_understood_or_refused(text: str) -> None:
    try:
        name = parse_threshold(text).name
    except UsageError:
        name = ""
    assert name in text


def test_without_a_pinned_run_nothing_is_compared(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    with pytest.raises(UsageError, match="needs a pinned run"):
        judge(objects, made(objects, {"a": 1}), None, Gates(metrics=(parse_threshold("a not worse than pinned"),)))


def test_a_failed_run_and_an_assumption_that_broke_hold_no_gate(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    assumptions = (
        Assumption(text="in EUR"),
        Assumption(text="no gaps", holds=True),
        Assumption(text="old", holds=False),
    )
    found = judge(objects, made(objects, {}, status="failed", assumptions=assumptions), None, Gates())
    assert found == (
        Gate(kind="run", name="now", holds=False, text="it is failed"),
        Gate(kind="assumption", name="no gaps", holds=True, text="holds"),
        Gate(kind="assumption", name="old", holds=False, text="does not hold"),
    )


def test_a_table_whose_bytes_are_lost_holds_no_gate(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    runs = []
    for number in (1, 2):
        use = FileUse(path="x.csv", access="read", digest=of_bytes(bytes([number])))
        runs.append(Run(id=str(number), status="done", cells=(Cell(seq=1, source="", reads=(use,)),)))
    (gate,) = judge(objects, runs[1], runs[0], Gates())
    assert not gate.holds
    assert gate.text.startswith("cannot be compared")


def test_a_file_of_gates(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text("against: model\nmetrics: [a >= 1]\ndrift: 0.3\nignore: [id]\noutputs: true\n")
    gates = read_gates(path)
    assert (gates.against, gates.outputs, gates.metrics[0].number) == ("model", True, 1.0)
    assert gates.limits == Limits(drift=0.3, ignore=frozenset({"id"}))
    for text in ("drfit: 1", "drift: much", "- a", "metrics: [a]", "{"):
        path.write_text(text)
        with pytest.raises(UsageError):
            read_gates(path)
