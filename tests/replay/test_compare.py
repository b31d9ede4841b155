"""compare(a, b): what is the same, what is equivalent and by which rule, what diverged and why."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import struct
import zlib
from typing import Any

import pytest

from reprokit import digest
from reprokit.errors import ObjectMissing, UsageError
from reprokit.records import (
    Assumption,
    Cell,
    CodeState,
    Config,
    Distribution,
    Environment,
    FileUse,
    Machine,
    Metric,
    RandomState,
    Run,
    Verdict,
)
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.typed import kinds
from reprokit.replay.typed.outcome import How
from reprokit.replay.typed.text import same_text


class Objects(dict[str, bytes]):
    """Objects in memory, named as the store names them."""

    def put(self, data: bytes) -> str:
        name = digest.of_bytes(data)
        self[name] = data
        return name

    def outputs(self, *outputs: dict[str, Any]) -> str:
        return self.put(json.dumps(outputs).encode())

    def read(self, name: str) -> bytes:
        if name not in self:
            raise ObjectMissing(name)
        return self[name]


@pytest.fixture
def objects() -> Objects:
    return Objects()


def text(value: str, mime: str = "text/plain") -> dict[str, Any]:
    return {"output_type": "display_data", "data": {mime: value}, "metadata": {}}


def stream(value: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": value}


def one_cell(outputs: str | None = None, **fields: Any) -> Run:
    cell = Cell(**{"seq": 1, "source": "from tools import f\nf()", "status": "done", "outputs": outputs, **fields})
    return Run(id="run-a", status="done", cells=(cell,))


def over(run: Run, **fields: Any) -> Run:
    return dataclasses.replace(run, id="run-b", **fields)


def both(objects: Objects, left: dict[str, Any], right: dict[str, Any], **options: Any) -> Verdict:
    a, b = one_cell(objects.outputs(left)), one_cell(objects.outputs(right))
    return compare(a, over(b), objects.read, Comparison(**options))


def png(pixels: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# --- outputs -----------------------------------------------------------------------------------------


def test_execution_counts_and_empty_metadata_are_not_results(objects: Objects) -> None:
    left = {
        "output_type": "execute_result",
        "data": {"text/plain": "2"},
        "execution_count": 1,
        "metadata": {},
    }
    right = {"output_type": "execute_result", "data": {"text/plain": ["2"]}, "execution_count": 9}
    verdict = both(objects, left, right, exact=True)
    assert (verdict.verdict, verdict.rules, verdict.cells[0].differences) == ("identical", (), ())


def test_how_a_stream_was_cut_is_timing(objects: Objects) -> None:
    a = one_cell(objects.outputs(stream("one\n"), stream("two\n")))
    b = over(one_cell(objects.outputs(stream("one\ntwo\n"))))
    assert compare(a, b, objects.read, Comparison(exact=True)).verdict == "identical"


def test_stdout_and_stderr_may_interleave_otherwise_but_only_typed(objects: Objects) -> None:
    a = one_cell(objects.outputs(stream("1\n"), stream("warn\n", "stderr"), stream("2\n")))
    b = over(one_cell(objects.outputs(stream("1\n2\n"), stream("warn\n", "stderr"))))
    assert compare(a, b, objects.read).rules == ("stream order",)
    assert compare(a, b, objects.read, Comparison(exact=True)).verdict == "diverged"


def test_a_number_is_told_in_one_line(objects: Objects) -> None:
    verdict = both(objects, text("0.912"), text("0.905"))
    assert verdict.verdict == "diverged"
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.to_dict() == {
        "cell": 1,
        "cause": "nondeterminism",
        "difference": "output 1 (text/plain): 0.912 → 0.905",
    }


def test_a_long_output_comes_with_a_diff_from_its_first_change(objects: Objects) -> None:
    left = "".join(f"row {n}\n" for n in range(1000))
    verdict = both(objects, stream(left), stream(left.replace("row 700\n", "row 7OO\n")))
    (difference,) = verdict.cells[0].differences
    assert (difference.where, difference.before, difference.after) == (
        "output 1 (stdout)",
        "row 700",
        "row 7OO",
    )
    assert difference.detail.splitlines()[0] == "@@ line 698 @@"
    assert "-row 700\n+row 7OO" in difference.detail
    assert len(difference.detail.splitlines()) <= 41


def test_what_is_shown_is_not_what_is_seen_past(objects: Objects) -> None:
    """Neither an address nor a colour is the difference when a number is."""
    sides = [f"\x1b[0;31m<A at 0x7f{n}0a2b3c4d0>\x1b[0m\nrows 1\nscore 0.9{n}\n" for n in range(2)]
    (difference,) = both(objects, *map(stream, sides)).cells[0].differences
    assert (difference.before, difference.after) == ("score 0.90", "score 0.91")
    assert "0x7f" not in difference.detail
    assert "\x1b" not in difference.detail
    a, b = (one_cell(objects.outputs(stream(side))) for side in sides)
    (difference,) = compare(a, b, objects.read, Comparison(exact=True)).cells[0].differences
    assert "0x7f0" in difference.before


def test_the_cause_is_not_hidden_by_what_is_seen_past(objects: Objects) -> None:
    sides = [f"<Model at 0x7f10a2b3c4d{n}> of 2026-05-03 14:02:1{n}" for n in range(2)]
    verdict = both(objects, *map(text, sides))
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == "time"


def test_an_output_that_is_not_there(objects: Objects) -> None:
    a, b = one_cell(objects.outputs(stream("x"))), one_cell(None)
    (difference,) = compare(a, over(b), objects.read).cells[0].differences
    assert (difference.where, difference.before, difference.after) == ("output 1 (stdout)", "x", "absent")


def test_outputs_whose_object_is_gone_are_not_called_equal(objects: Objects) -> None:
    kept = objects.outputs(stream("x"))
    gone = digest.of_bytes(b"gone")
    verdict = compare(one_cell(kept), over(one_cell(gone)), objects.read)
    assert verdict.verdict == "diverged"
    assert "is not in the store" in verdict.cells[0].differences[0].detail


def test_an_object_that_is_no_list_of_outputs_is_told(objects: Objects) -> None:
    a, b = one_cell(objects.put(b"not json")), one_cell(objects.put(b"[1, 2]"))
    (difference,) = compare(a, over(b), objects.read).cells[0].differences
    assert difference.detail == "the outputs cannot be compared: an object is not a list of outputs"


# --- rules -------------------------------------------------------------------------------------------

EQUIVALENT = [
    ("memory addresses", "<A object at 0x7f10a2b3c4d0>", "<A object at 0x7f99123456aa>"),
    ("memory addresses", "ptr 0x7f10a2b3c4d0", "ptr 0x7f99123456aa"),
    ("object ids", "id: 139637976727600", "id: 140737488355000"),
    ("process ids", "PID = 3246 , args = 1", "PID = 4435 , args = 1"),
    ("durations", "Wall time: 3.21 ms", "Wall time: 1min 2s"),
    (
        "durations",
        "CPU times: user 3 µs, sys: 0 ns, total: 3 µs\nWall time: 5.2 µs",
        "CPU times: user 1.2 s, sys: 3 ms, total: 1.2 s\nWall time: 1.3 s",
    ),
    (
        "durations",
        "12.3 ns ± 0.1 ns per loop (mean ± std. dev. of 7 runs, 10,000,000 loops each)",
        "9.87 µs ± 22 ns per loop (mean ± std. dev. of 7 runs, 100,000 loops each)",
    ),
    (
        "durations",
        "100%|██████████| 10/10 [00:01<00:00,  8.10it/s, loss=0.31]",
        "100%|██████████| 10/10 [00:02<00:00,  4.62it/s, loss=0.31]",
    ),
    ("durations", "10it [00:01, 8.10it/s]", "10it [01:01, 2.00s/it]"),
    ("durations", "10/10 ━━━━ 0s 12ms/step - loss: 0.5", "10/10 ━━━━ 1s 8ms/step - loss: 0.5"),
    (
        "durations",
        "[Parallel(n_jobs=1)]: Done 5 | elapsed:    0.1s",
        "[Parallel(n_jobs=1)]: Done 5 | elapsed:    2.4s",
    ),
    ("progress", "  0%|   | 0/2\r 50%|█  | 1/2\r100%|██| 2/2\n", "  0%|   | 0/2\r100%|██| 2/2\n"),
    ("temporary paths", "/tmp/ipykernel_123/456.py:1: W", "/tmp/ipykernel_99/456.py:1: W"),
    ("temporary paths", "/tmp/tmpabcd1234/x", "/var/folders/a1/b2/T/tmp_bcd9876/x"),
    ("ansi colours", "\x1b[31mred\x1b[0m", "red"),
    ("cell numbers", "Cell In[3], line 1", "Cell In[12], line 1"),
    ("interpreter path", "/usr/lib/python3.11/json", "/opt/x/lib/python3.11/json"),
]


@pytest.mark.parametrize(("rule", "left", "right"), EQUIVALENT)
def test_what_no_repetition_keeps_is_seen_past(rule: str, left: str, right: str, objects: Objects) -> None:
    verdict = both(objects, text(left), text(right))
    assert (verdict.verdict, verdict.rules) == ("equivalent", (rule,))
    assert verdict.cells[0].rules == (rule,)
    assert both(objects, text(left), text(right), exact=True).verdict == "diverged"


DIFFERENT = [
    ("0.912", "0.905"),
    ("took 3.2 s", "took 3.3 s"),
    ("duration: 5 ms", "duration: 6 ms"),
    ("0xff00aa01", "0xff00aa02"),
    ("at 0xff00", "at 0xff01"),
    ("id: 123456789012345", "id: 123456789012346"),
    ("n = 140737488355000", "n = 140737488355001"),
    ("[00:01<00:00, 8.1it/s, loss=0.31]", "[00:01<00:00, 8.1it/s, loss=0.32]"),
    ("0%|| 0/2 [00:00<?, ?it/s]", "0%|| 0/3 [00:00<?, ?it/s]"),
    ("loss 0.5\rloss 0.4\n", "loss 0.6\rloss 0.4\n"),
    ("12ms/step - loss: 0.5", "12ms/step - loss: 0.6"),
    ("2026-05-03 14:02", "2026-05-04 14:02"),
    ("d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427f"),
    ("/data/tmpabcd1234/x", "/data/tmpabcd1235/x"),
    ("3.11", "3.12"),
]


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
@pytest.mark.parametrize("mime", ["text/plain", "text/html", "image/svg+xml", "application/json"])
def test_results_are_never_loosened(left: str, right: str, mime: str, objects: Objects) -> None:
    assert both(objects, text(left, mime), text(right, mime)).verdict == "diverged"


def test_only_the_rules_that_were_needed_are_named() -> None:
    left = "Wall time: 3 ms <A at 0x7f10a2b3c4d0>"
    assert same_text(left, "Wall time: 3 ms <A at 0x7f10a2b3c4ff>") == ("memory addresses",)


@pytest.mark.parametrize("unit", ["a", "1", "a/", "1.", "\r", "f0", "id=", "[00:01", "1 s "])
@pytest.mark.timeout(120)  # quadratic it would be an hour
def test_rules_take_linear_time(unit: str) -> None:
    long = unit * (400_000 // len(unit))
    for kind in ("text", "html", "svg", "widget"):
        assert same_text(long + "x", long + "y", kind) is None


def test_random_ids_of_html_are_matched_by_their_use(objects: Objects) -> None:
    page = '<style>#{0}_row0_col0 {{}}</style><table id="{0}"><td id="{0}_row0_col0">0.912</td></table>'
    verdict = both(objects, text(page.format("T_a1b2c"), "text/html"), text(page.format("T_99fe0"), "text/html"))
    assert verdict.rules == ("html ids",)
    plotly = '<div id="{0}"></div><script>Plotly.newPlot("{0}", [1, 2])</script>'
    one, two = "2f1b7c0e-58a4-4b5e-9d8e-0123456789ab", "9a0b7c0e-58a4-4b5e-9d8e-ba9876543210"
    assert same_text(plotly.format(one), plotly.format(two), "html") == ("html ids",)
    assert same_text(f"<td>{one}</td>", f"<td>{two}</td>", "html") is None  # a result, not an id


def test_svg_ids_and_date() -> None:
    svg = '<svg><dc:date>{1}</dc:date><path id="{0}" d="M 1 2"/><use xlink:href="#{0}"/></svg>'
    left, right = svg.format("m0123456789", "2026-05-03"), svg.format("mabcdef0123", "2026-05-04")
    assert same_text(left, right, "svg") == ("svg date", "svg ids")
    assert same_text(left, right.replace("M 1 2", "M 1 3"), "svg") is None


def test_widget_model_ids(objects: Objects) -> None:
    mime = "application/vnd.jupyter.widget-view+json"
    left, right = ({"model_id": c * 32, "version_major": 2} for c in "ab")
    assert both(objects, text(left, mime), text(right, mime)).rules == ("widget ids",)  # type: ignore[arg-type]


def test_a_picture_is_its_pixels(objects: Objects) -> None:
    def shown(data: bytes) -> dict[str, Any]:
        return text(base64.b64encode(data).decode(), "image/png")

    plain, dated = png(b"abcd"), png(b"abcd", (b"tEXt", b"Software\0x"), (b"tIME", b"\0" * 7))
    assert both(objects, shown(plain), shown(dated)).rules == ("png metadata",)
    other = both(objects, shown(plain), shown(png(b"abce")))
    assert other.verdict == "diverged"
    assert other.cells[0].differences[0].before == f"4×1 pixels, {len(plain)} bytes"
    assert both(objects, shown(plain), shown(b"no png")).verdict == "diverged"
    assert kinds.compare(plain[:-1], dated[:-1], "png", How()).rules is None  # torn


def test_dates_inside_pdf_and_gzip_files() -> None:
    pdf = b"%%PDF-1.4\n<< /CreationDate (D:2026050%d120000Z) /Producer (x) >>"
    assert kinds.compare(pdf % 3, pdf % 4, "pdf", How()).rules == ("pdf date",)
    one, two = gzip.compress(b"1,2\n", mtime=1), gzip.compress(b"1,2\n", mtime=2)
    assert kinds.compare(one, two, "gzip", How()).rules == ("gzip date",)
    assert kinds.compare(one, gzip.compress(b"1,3\n", mtime=1), "gzip", How()).rules is None


def test_a_replay_runs_in_another_folder(objects: Objects) -> None:
    def placed(root: str, prefix: str, shown: str) -> Run:
        environment = Environment(
            fingerprint="f", python="3.11.4", implementation="CPython", executable="x", prefix=prefix
        )
        run = one_cell(objects.outputs(text(shown)))
        return dataclasses.replace(run, root=root, cwd=root, environments=(environment,))

    a = placed("/home/ada/proj", "/home/ada/proj/.venv", "~/proj/a.py /home/ada/proj/.venv/bin 'x'")
    b = placed("/tmp/tmpabcd1234/proj", "/cache/env", "/tmp/tmpabcd1234/proj/a.py /cache/env/bin 'x'")
    assert compare(a, over(b), objects.read).rules == ("workspace path",)
    beside = placed("/home/ada/pro", "/e", "/home/ada/project/a.py")
    elsewhere = placed("/w", "/e", "/w/project/a.py")
    assert compare(beside, over(elsewhere), objects.read).verdict == "diverged"


# --- files -------------------------------------------------------------------------------------------


def use(objects: Objects, path: str, data: bytes, access: str = "read") -> FileUse:
    return FileUse(path=path, access=access, size=len(data), digest=objects.put(data), stored="object")


def test_a_changed_input_is_the_cause(objects: Objects) -> None:
    old, new = (use(objects, "data/train.csv", data) for data in (b"a\n1\n", b"a\n2\n"))
    a = one_cell(objects.outputs(text("1")), reads=(old,))
    b = over(one_cell(objects.outputs(text("2")), reads=(new,)))
    verdict = compare(a, b, objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.to_dict() == {
        "cell": 1,
        "cause": "data",
        "difference": "data/train.csv changed",
    }
    assert verdict.cells[0].differences[0].detail.splitlines()[-1] == "row 1, a: 1 → 2"
    (file,) = verdict.files
    assert (file.verdict, file.before, file.after) == ("diverged", old.digest, new.digest)


@pytest.mark.parametrize(("path", "cause"), [("helpers.py", "code"), ("conf/model.yaml", "config"), ("x.csv", "data")])
def test_what_kind_of_input_changed(path: str, cause: str, objects: Objects) -> None:
    config = Config(values={"lr": 1}, sources={"lr": "conf/model.yaml"})
    a, b = (one_cell(reads=(use(objects, path, data),)) for data in (b"1", b"2"))
    a = dataclasses.replace(a, config=config)
    verdict = compare(a, over(b, config=config), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause
    assert verdict.first_divergence.difference == f"{path} changed"


def test_a_file_that_the_run_made_itself_is_no_cause(objects: Objects) -> None:
    a, b = (one_cell(reads=(dataclasses.replace(use(objects, "made.csv", data), own=True),)) for data in (b"1", b"2"))
    verdict = compare(a, over(b), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == "nondeterminism"


def test_an_extra_read_is_told_and_no_divergence(objects: Objects) -> None:
    a = one_cell(reads=(use(objects, "cache.bin", b"1"),))
    verdict = compare(a, over(one_cell()), objects.read)
    assert (verdict.verdict, verdict.rules) == ("equivalent", ("read set",))
    assert verdict.cells[0].differences[0].after == "absent"
    assert compare(over(one_cell()), a, objects.read).verdict == "equivalent"


@pytest.mark.parametrize("swap", [False, True])
def test_a_write_of_one_run_only_diverges(swap: bool, objects: Objects) -> None:
    runs = [one_cell(writes=(use(objects, "out.csv", b"1", "write"),)), one_cell()]
    a, b = reversed(runs) if swap else runs
    verdict = compare(a, over(b), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.difference == f"out.csv was {'written in addition' if swap else 'not written'}"


def test_written_files_are_compared_by_their_kind(objects: Objects) -> None:
    def wrote(path: str, data: bytes) -> Run:
        return one_cell(writes=(use(objects, path, data, "write"),))

    one, two = b"<A at 0x7f10a2b3c4d0>", b"<A at 0x7f10a2b3c4ff>"
    typed = compare(wrote("log.txt", one), over(wrote("log.txt", two)), objects.read)
    assert (typed.verdict, typed.rules, typed.files[0].verdict) == (
        "equivalent",
        ("memory addresses",),
        "equivalent",
    )
    opaque = compare(wrote("model.pkl", one), over(wrote("model.pkl", two)), objects.read)
    assert opaque.verdict == "diverged"
    assert compare(wrote("log.txt", one), over(wrote("log.txt", b"\xff")), objects.read).verdict == "diverged"


def test_a_written_file_whose_contents_were_not_kept(objects: Objects) -> None:
    gone = FileUse(path="log.txt", access="write", size=1, digest=digest.of_bytes(b"?"))
    a = one_cell(writes=(use(objects, "log.txt", b"1", "write"),))
    (difference,) = compare(a, over(one_cell(writes=(gone,))), objects.read).cells[0].differences
    assert difference.detail.startswith("the contents cannot be compared: object sha256:")


def test_files_in_temporary_folders_are_paired(objects: Objects) -> None:
    a, b = (
        one_cell(writes=(use(objects, f"/tmp/{folder}/part.csv", b"1", "write"),))
        for folder in ("tmpabcd1234", "tmpzyxw9876")
    )
    assert compare(a, over(b), objects.read).rules == ("temporary paths",)
    assert compare(a, over(b), objects.read, Comparison(exact=True)).verdict == "diverged"


# --- cells and runs ----------------------------------------------------------------------------------


def cells(*sources: str) -> Run:
    made = tuple(Cell(seq=n, source=source, status="done") for n, source in enumerate(sources, start=1))
    return Run(id="run-a", status="done", cells=made)


def test_a_failed_cell(objects: Objects) -> None:
    b = over(one_cell(status="failed", error="KeyError: 'x'"))
    verdict = compare(one_cell(), b, objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.difference == "status: done → failed (KeyError: 'x')"


def test_an_inserted_cell_is_found_by_its_source(objects: Objects) -> None:
    verdict = compare(cells("a", "b", "c"), over(cells("a", "x", "b", "c")), objects.read)
    assert [cell.verdict for cell in verdict.cells] == ["identical", "diverged", "identical", "identical"]
    assert verdict.cells[1].differences[0].what == "extra"
    assert verdict.cells[1].cause == "code"


def test_an_edited_cell(objects: Objects) -> None:
    verdict = compare(cells("a", "lr = 0.1", "c"), over(cells("a", "lr = 0.2", "c")), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.difference == "source: lr = 0.1 → lr = 0.2"
    assert [cell.verdict for cell in verdict.cells] == ["identical", "diverged", "identical"]


def test_a_replay_that_ended_early(objects: Objects) -> None:
    verdict = compare(cells("a", "b"), over(cells("a"), reason="the kernel died"), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cell == 2
    assert verdict.first_divergence.difference == "the cell was not run (the kernel died)"


def test_a_cell_before_the_run_is_its_source_alone(objects: Objects) -> None:
    a = one_cell(observed=False, status="running")
    assert compare(a, over(one_cell(objects.outputs(text("1")))), objects.read).verdict == "identical"


def test_random_states_are_told_where_they_part_and_alone_change_nothing(objects: Objects) -> None:
    def drawn(*ends: str) -> Run:
        starts = ["s", *ends]
        made = tuple(
            Cell(
                seq=n + 1,
                source="f()",
                status="done",
                random=(
                    RandomState(at="start", states={"numpy": f"sha256:{starts[n]}"}),
                    RandomState(at="end", states={"numpy": f"sha256:{end}"}),
                ),
            )
            for n, end in enumerate(ends)
        )
        return Run(id="run-a", status="done", cells=made)

    verdict = compare(drawn("x", "x2", "x3"), over(drawn("y", "y2", "y3")), objects.read)
    assert verdict.verdict == "identical"
    told = [(cell.cell, d.where, d.before, d.after) for cell in verdict.cells for d in cell.differences]
    assert told == [(1, "numpy at end", "x", "y")]


def test_metrics_assumptions_and_parameters(objects: Objects) -> None:
    a = dataclasses.replace(
        one_cell(),
        metrics=(Metric(key="accuracy", value=0.912, cell=1),),
        assumptions=(Assumption(text="no negative price", holds=True, cell=1),),
        params={"lr": 0.1},
    )
    b = over(
        a,
        metrics=(Metric(key="accuracy", value=0.905, cell=1),),
        assumptions=(Assumption(text="no negative price", holds=False, cell=1),),
        params={"lr": 0.2},
    )
    verdict = compare(a, b, objects.read)
    assert [(cell.cell, [d.what for d in cell.differences]) for cell in verdict.cells] == [
        (1, ["metric", "assumption"]),
        (0, ["param"]),
    ]
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.to_dict() == {
        "cell": 1,
        "cause": "config",
        "difference": "metric accuracy: 0.912 → 0.905",
    }


def test_a_metric_that_is_not_a_number_equals_itself(objects: Objects) -> None:
    a, b = (dataclasses.replace(one_cell(), metrics=(Metric(key="loss", value=float("nan")),)) for _ in "ab")
    assert compare(a, over(b), objects.read).verdict == "identical"


def test_settings_of_the_replay_are_told_and_no_divergence(objects: Objects) -> None:
    a = dataclasses.replace(one_cell(), config=Config(values={"LANG": "C"}), status="interrupted")
    b = over(one_cell(), config=Config(values={"LANG": "C.UTF-8"}))
    verdict = compare(a, b, objects.read)
    assert verdict.verdict == "identical"
    assert [d.what for d in verdict.cells[-1].differences] == ["config", "status"]


def test_packages_that_a_replay_does_not_install_again(objects: Objects) -> None:
    skipped = ("!pip install tabulate",)
    recorded = one_cell(objects.outputs(stream("Collecting tabulate\nInstalled tabulate-0.9\nscore 0.91\n"), text("1")))

    def replayed(*outputs: dict[str, Any], **fields: Any) -> Run:
        return over(one_cell(objects.outputs(*outputs), **fields))

    same = compare(recorded, replayed(stream("score 0.91\n"), text("1"), skipped=skipped), objects.read)
    assert (same.verdict, same.rules) == ("equivalent", ("packages are not installed again",))
    for other in (
        replayed(stream("score 0.92\n"), text("1"), skipped=skipped),
        replayed(stream("score 0.91\n"), text("2"), skipped=skipped),
        replayed(stream("score 0.91\nscore 0.91\n"), text("1"), skipped=skipped),
        replayed(stream("score 0.91\n"), text("1")),
    ):
        assert compare(recorded, other, objects.read).verdict == "diverged"


def test_metrics_within_the_tolerance(objects: Objects) -> None:
    def scored(value: Any, **params: Any) -> Run:
        return dataclasses.replace(one_cell(), metrics=(Metric(key="auc", value=value),), params=params)

    near = Comparison(rtol=1e-3)
    assert compare(scored(0.9), over(scored(0.9001)), objects.read, near).rules == ("numbers within rtol 0.001",)
    assert compare(scored(0.9), over(scored(0.9001)), objects.read).verdict == "diverged"
    assert compare(scored(1000), over(scored(1001)), objects.read, Comparison(rtol=0.1)).verdict == "diverged"
    assert compare(scored(1.0), over(scored(True)), objects.read, Comparison(rtol=0.1)).verdict == "diverged"
    varied = compare(scored(1.0, lr=0.1), over(scored(1.0, lr=0.10001)), objects.read, Comparison(rtol=0.1))
    assert varied.verdict == "diverged"  # a parameter is no result


@pytest.mark.parametrize("values", [{"rtol": -1.0}, {"atol": float("nan")}, {"exact": True, "rtol": 0.1}])
def test_a_comparison_that_makes_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Comparison(**values)


# --- causes ------------------------------------------------------------------------------------------


def machine(**fields: Any) -> Machine:
    known = {"system": "Linux", "release": "6", "architecture": "x86_64", "libc": "", "cpu": "c", "cores": 2}
    return Machine(**{**known, "memory": None, "hash_seed": "0", **fields})


def environment(**versions: str) -> tuple[Environment, ...]:
    installed = tuple(Distribution(name=name, version=version) for name, version in versions.items())
    return (
        Environment(
            fingerprint="f",
            python="3.11.4",
            implementation="CPython",
            executable="x",
            prefix="/e",
            distributions=installed,
        ),
    )


CAUSES: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    (
        "hash-order",
        {"machine": machine(hash_seed="random")},
        {"machine": machine()},
        "{'b', 'a'}",
        "{'a', 'b'}",
    ),
    ("time", {}, {}, "run at 2026-05-03 14:02", "run at 2026-05-04 09:00"),
    (
        "randomness",
        {},
        {},
        "2f1b7c0e-58a4-4b5e-9d8e-0123456789ab",
        "9a0b7c0e-58a4-4b5e-9d8e-ba9876543210",
    ),
    (
        "environment",
        {"environments": environment(numpy="1.26.4")},
        {"environments": environment(numpy="2.1.0")},
        "1",
        "2",
    ),
    ("parallelism", {"machine": machine(threads={"OMP_NUM_THREADS": "1"})}, {"machine": machine()}, "1", "2"),
    ("hardware", {"machine": machine(cpu="other")}, {"machine": machine()}, "1", "2"),
    ("nondeterminism", {"machine": machine()}, {"machine": machine()}, "1", "2"),
]


@pytest.mark.parametrize(("cause", "ours", "theirs", "left", "right"), CAUSES)
def test_the_cause_follows_the_evidence(
    cause: str, ours: dict[str, Any], theirs: dict[str, Any], left: str, right: str, objects: Objects
) -> None:
    a = dataclasses.replace(one_cell(objects.outputs(text(left))), **ours)
    b = over(one_cell(objects.outputs(text(right))), **theirs)
    verdict = compare(a, b, objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause
    assert verdict.cells[0].cause == cause


CELL_CAUSES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("network", {"network": ("example.org",)}, {"network": ("example.org",)}),
    ("hidden-state", {"entered": "inside"}, {}),
    ("randomness", {"source": "uuid.uuid4()"}, {"source": "uuid.uuid4()"}),
    ("time", {"source": "time.time()"}, {"source": "time.time()"}),
    ("randomness", {"source": "np.random.default_rng()"}, {"source": "np.random.default_rng()"}),
    (
        "randomness",
        {"random": (RandomState(at="start", states={"numpy": "sha256:1"}),)},
        {"random": (RandomState(at="start", states={"numpy": "sha256:2"}),)},
    ),
]


@pytest.mark.parametrize(("cause", "ours", "theirs"), CELL_CAUSES)
def test_the_cause_in_the_cell(cause: str, ours: dict[str, Any], theirs: dict[str, Any], objects: Objects) -> None:
    a, b = one_cell(objects.outputs(text("1")), **ours), one_cell(objects.outputs(text("2")), **theirs)
    verdict = compare(a, over(b), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause


def test_a_refused_network_is_the_cause(objects: Objects) -> None:
    a = one_cell(objects.outputs(text("1")), network=("example.org",))
    b = one_cell(objects.outputs(text("2")), status="failed", error="OSError: refused", network=("example.org",))
    verdict = compare(a, over(b, conditions={"network": "closed"}), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == "network"


def code(tree: str, *modules: CodeState) -> CodeState:
    return CodeState(
        kind="git", repository="/p/.git", ref="r", snapshot="0" * 40, tree=tree * 40, top="/p", submodules=modules
    )


CODE_CAUSES: list[tuple[str, CodeState | None, CodeState | None]] = [
    ("code", code("1"), code("2")),
    ("code", code("1", code("3")), code("1", code("4"))),
    ("nondeterminism", code("1"), code("1")),
    ("nondeterminism", code("1"), None),
]


@pytest.mark.parametrize(("cause", "ours", "theirs"), CODE_CAUSES)
def test_a_changed_tree_is_evidence_of_changed_code(
    cause: str, ours: CodeState | None, theirs: CodeState | None, objects: Objects
) -> None:
    a, b = (one_cell(objects.outputs(text(shown))) for shown in "12")
    verdict = compare(dataclasses.replace(a, code=ours), over(b, code=theirs), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.to_dict() == {
        "cell": 1,
        "cause": cause,
        "difference": "output 1 (text/plain): 1 → 2",
    }


def test_a_changed_tree_alone_is_no_divergence(objects: Objects) -> None:
    a = dataclasses.replace(one_cell(), code=code("1"))
    assert compare(a, over(a, code=code("2")), objects.read).verdict == "identical"


BESIDE_CODE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("config", {"params": {"lr": 1}}, {"params": {"lr": 2}}),
    ("environment", {"environments": environment(numpy="1")}, {"environments": environment(numpy="2")}),
    ("code", {"machine": machine(cpu="other", cores=4)}, {"machine": machine()}),
    ("code", {"machine": machine(threads={"OMP_NUM_THREADS": "1"})}, {"machine": machine()}),
    ("code", {"config": Config(values={"LANG": "C"})}, {"config": Config(values={"LANG": "C.UTF-8"})}),
]


@pytest.mark.parametrize(("cause", "ours", "theirs"), BESIDE_CODE)
def test_how_strong_a_changed_tree_is(
    cause: str, ours: dict[str, Any], theirs: dict[str, Any], objects: Objects
) -> None:
    a, b = (one_cell(objects.outputs(text(shown))) for shown in "12")
    verdict = compare(dataclasses.replace(a, code=code("1"), **ours), over(b, code=code("2"), **theirs), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause


def drew(start: str, end: str, entropy: str | None = None) -> dict[str, Any]:
    states = (("start", start, entropy), ("end", end, None))
    return {"random": tuple(RandomState(at=at, states={"numpy": state}, entropy=e) for at, state, e in states)}


BESIDE_CODE_IN_THE_CELL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("randomness", {"source": "default_rng()"}, {"source": "default_rng()"}),
    ("randomness", drew("1", "2"), drew("3", "4")),
    ("code", drew("1", "1", "e1"), drew("2", "2", "e2")),  # as in any two processes: nothing was drawn
    ("code", drew("1", "3"), drew("2", "3")),  # the cell seeds
    (  # edited code draws more: the number of draws is the effect
        "code",
        {"random": (RandomState(at="end", states={"numpy": "sha256:1"}),)},
        {"random": (RandomState(at="end", states={"numpy": "sha256:2"}),)},
    ),
]


@pytest.mark.parametrize(("cause", "ours", "theirs"), BESIDE_CODE_IN_THE_CELL)
def test_a_changed_tree_and_what_the_cell_did(
    cause: str, ours: dict[str, Any], theirs: dict[str, Any], objects: Objects
) -> None:
    a, b = one_cell(objects.outputs(text("1")), **ours), one_cell(objects.outputs(text("2")), **theirs)
    verdict = compare(dataclasses.replace(a, code=code("1")), over(b, code=code("2")), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause


def test_a_generator_drawn_from_in_an_earlier_cell_is_randomness(objects: Objects) -> None:
    def run(state: str, shown: str) -> Run:
        first = Cell(seq=1, source="df.sample(5)", status="done", **drew(state, f"{state}2"))
        (second,) = one_cell(objects.outputs(text(shown)), seq=2, **drew(f"{state}2", f"{state}2")).cells
        return Run(id="run-a", status="done", cells=(first, second), code=code(shown))

    verdict = compare(run("x", "1"), over(run("y", "2")), objects.read)
    assert verdict.first_divergence is not None
    assert (verdict.first_divergence.cell, verdict.first_divergence.cause) == (2, "randomness")


def test_packages_outweigh_generators_that_were_not_drawn_from(objects: Objects) -> None:
    a, b = (one_cell(objects.outputs(text(shown)), **drew(shown, shown, shown)) for shown in "12")
    a = dataclasses.replace(a, environments=environment(numpy="1"))
    verdict = compare(a, over(b, environments=environment(numpy="2")), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == "environment"


def test_data_that_changed_outweighs_a_changed_tree(objects: Objects) -> None:
    a, b = (one_cell(reads=(use(objects, "data.csv", data),)) for data in (b"1", b"2"))
    verdict = compare(dataclasses.replace(a, code=code("1")), over(b, code=code("2")), objects.read)
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == "data"


def test_packages_that_differ_are_listed(objects: Objects) -> None:
    a = dataclasses.replace(one_cell(), environments=environment(numpy="1.26.4", Scikit_Learn="1.4", old="1"))
    b = over(one_cell(), environments=environment(numpy="2.1.0", **{"scikit-learn": "1.4"}))
    verdict = compare(a, b, objects.read)
    assert verdict.environment == ("numpy 1.26.4 → 2.1.0", "old 1 → absent")
    assert verdict.verdict == "identical"
