"""Several verdicts as a table and as JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from reprokit.records import CellVerdict, Checked, Difference, Divergence, Verdict
from reprokit.views.checked import checked_json, checked_text
from reprokit.views.junit import junit

SAME = Verdict(verdict="identical", run="20240101-000000-aaaaaaaa", cells=(CellVerdict(cell=1, verdict="identical"),))
ODD = Verdict(
    verdict="diverged",
    run="20240102-000000-bbbbbbbb",
    first_divergence=Divergence(cell=3, cause="time", difference="output 1: <a> & \x1b[31m\x00\ud800 → b"),
    cells=(
        CellVerdict(
            cell=3,
            verdict="diverged",
            cause="time",
            differences=(
                Difference(what="output", where="output 1", before="<a> & \x00", after="b", detail="\ufffe]]>"),
            ),
        ),
    ),
)
GONE = Verdict(verdict="unreplayable", run="20240103-000000-cccccccc", reasons=("data/x.csv is gone: put it back",))
RESULTS = (
    Checked(name="same", verdict=SAME, seconds=1.25),
    Checked(name='odd "name" \x07', verdict=ODD, seconds=2.0),
    Checked(name="gone", verdict=GONE, seconds=0.5),
)


def test_junit_has_a_case_for_each_run() -> None:
    top = ET.fromstring(junit(RESULTS, started=0.0))
    (suite,) = top
    expected = {"tests": "3", "failures": "1", "errors": "1", "skipped": "0", "time": "3.750"}
    assert top.tag == "testsuites"
    assert expected.items() <= suite.attrib.items()
    assert suite.get("timestamp") == "1970-01-01T00:00:00"
    assert [case.get("time") for case in suite] == ["1.250", "2.000", "0.500"]
    assert [[part.tag for part in case] for case in suite] == [
        ["system-out"],
        ["failure", "system-out"],
        ["error", "system-out"],
    ]


def test_junit_says_why() -> None:
    _, odd, gone = ET.fromstring(junit(RESULTS, started=0.0))[0]
    failure, error = odd.find("failure"), gone.find("error")
    assert failure is not None
    assert error is not None
    assert (failure.get("type"), error.get("type")) == ("time", "unreplayable")
    assert str(failure.get("message")).startswith("diverged at cell 3: output 1: <a> & ")
    assert error.get("message") == "unreplayable: data/x.csv is gone: put it back"
    assert ODD.run in str(failure.text)
    assert "most likely cause: time" in str(odd.findtext("system-out"))


def test_the_table_shows_each_run_and_the_text_only_those_that_are_not_the_same() -> None:
    text = checked_text(RESULTS)
    head, same, odd, gone = text.splitlines()[-6:-2]
    assert head.split() == ["run", "name", "verdict", "cell", "cause", "seconds"]
    assert same.split() == [SAME.run, "same", "identical", "1.2"]
    assert odd.split()[-4:] == ["diverged", "3", "time", "2.0"]
    assert gone.split() == [GONE.run, "gone", "unreplayable", "0.5"]
    assert text.splitlines()[-1] == "3 runs: 1 identical, 1 diverged, 1 unreplayable"
    assert "same (" not in text
    assert "  unreplayable: data/x.csv is gone: put it back" in text.splitlines()
    assert "\x1b" not in text


def test_json_is_a_list_of_verdicts_with_names_and_times() -> None:
    documents = checked_json(RESULTS)
    assert [(one["name"], one["run"], one["verdict"], one["seconds"]) for one in documents] == [
        ("same", SAME.run, "identical", 1.25),
        ('odd "name" \x07', ODD.run, "diverged", 2.0),
        ("gone", GONE.run, "unreplayable", 0.5),
    ]
    keys = {"name", "seconds", "verdict", "run", "replay", "first_divergence", "cells", "files", "environment", "rules"}
    assert all(keys <= one.keys() for one in documents)
