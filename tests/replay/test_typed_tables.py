"""Tables by type, in files that pandas, pyarrow, openpyxl and sqlite3 wrote, and in what pandas shows."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprokit.replay.comparison import Comparison
from reprokit.replay.typed import kinds
from reprokit.replay.typed.outcome import How, Outcome

FRAME = pd.DataFrame({"age": [22.0, 38.0, 26.5], "name": ["Ada", "Bo", "Cy"], "n": [1, 2, 3]})


def contrast(name: str, left: bytes, right: bytes, **options: Any) -> Outcome:
    there = kinds.compare(left, right, kinds.file_kind(name), How(comparison=Comparison(**options)))
    back = kinds.compare(right, left, kinds.file_kind(name), How(comparison=Comparison(**options)))
    assert there.rules == back.rules
    return there


def other(column: str = "age", row: int = 1, value: object = 38.001) -> pd.DataFrame:
    changed = FRAME.copy()
    changed.loc[row, column] = value
    return changed


def parquet(frame: pd.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file, **options)
    return file.getvalue()


def feather(frame: pd.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    frame.to_feather(file, **options)
    return file.getvalue()


def csv(frame: pd.DataFrame, **options: Any) -> bytes:
    return frame.to_csv(index=False, **options).encode()


# --- Parquet and Arrow -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "write", "options", "rule"),
    [
        ("x.parquet", parquet, {"compression": "gzip", "row_group_size": 1}, "parquet layout"),
        ("x.feather", feather, {"compression": "uncompressed"}, "arrow layout"),
    ],
)
def test_the_same_table_in_another_layout(
    name: str, write: Callable[..., bytes], options: dict[str, Any], rule: str
) -> None:
    assert contrast(name, write(FRAME), write(FRAME, **options)).rules == (rule,)
    assert contrast(name, write(FRAME), write(FRAME, **options), exact=True).rules is None
    told = contrast(name, write(FRAME), write(other(), **options))
    assert told.rules is None
    assert "row 2, age: 38.0 → 38.001" in told.detail
    assert "1 of 3" in told.detail
    assert "28.8333 → 28.8337" in told.detail  # the column's mean


def test_another_version_of_pandas_wrote_it() -> None:
    def by(version: str, index: str = "RangeIndex") -> bytes:
        table = pa.Table.from_pandas(FRAME)
        notes = json.loads(table.schema.metadata[b"pandas"]) | {"pandas_version": version, "of": index}
        file = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({b"pandas": json.dumps(notes).encode()}), file)
        return file.getvalue()

    assert contrast("x.parquet", by("1.5.0"), by("2.2.0")).rules == ("parquet layout",)
    assert contrast("x.parquet", by("1.5.0"), by("1.5.0", "other")).detail == "the schema's metadata changed"


def test_what_happened_to_a_table() -> None:
    changed = FRAME.drop(columns="n").assign(score=1.0)
    changed["age"] = changed["age"].astype("float32")
    told = contrast("x.parquet", parquet(FRAME), parquet(pd.concat([changed, changed], ignore_index=True)))
    lines = told.detail.splitlines()
    assert lines[:3] == ["rows 3 → 6", "columns added: score", "columns removed: n"]
    assert "double → float" in told.detail


def test_columns_that_hold_lists_and_categories() -> None:
    frame = pd.DataFrame({"l": [[1.5], [2.5, None]], "c": pd.Categorical(["a", "b"])})
    other = pd.DataFrame({"l": [[1.5], [2.75, None]], "c": pd.Categorical(["a", "a"])})
    assert contrast("x.parquet", parquet(frame), parquet(frame, compression="gzip")).rules == ("parquet layout",)
    told = contrast("x.parquet", parquet(frame), parquet(other)).detail
    assert "row 2, l: [2.5, None] → [2.75, None]" in told
    assert "row 2, c: b → a" in told


def test_signs_of_zero_and_not_a_number_in_a_table() -> None:
    zeros, signed = (parquet(pd.DataFrame({"x": [value, 1.0]})) for value in (0.0, -0.0))
    assert contrast("x.parquet", zeros, signed).rules is None
    missing = pd.DataFrame({"x": [float("nan"), 1.0]})
    table = pa.Table.from_pandas(missing, preserve_index=False).cast(pa.schema([("x", pa.float64())]))
    one, two = io.BytesIO(), io.BytesIO()
    pq.write_table(table, one)
    pq.write_table(table, two, compression="none")
    assert contrast("x.parquet", one.getvalue(), two.getvalue()).rules == ("parquet layout",)


def test_moments_to_the_nanosecond() -> None:
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-05-03T14:02:11.123456789"])})
    later = pd.DataFrame({"at": pd.to_datetime(["2026-05-03T14:02:11.123456788"])})
    assert contrast("x.parquet", parquet(frame), parquet(frame, compression="gzip")).rules == ("parquet layout",)
    assert "123456789 → " in contrast("x.parquet", parquet(frame), parquet(later)).detail


def test_numbers_within_the_tolerance() -> None:
    for name, write in (("x.parquet", parquet), ("x.csv", csv)):
        used = contrast(name, write(FRAME), write(other()), rtol=1e-3).rules
        assert used is not None
        assert used[-1] == "numbers within rtol 0.001"
        assert contrast(name, write(FRAME), write(other()), rtol=1e-6).rules is None
        assert contrast(name, write(FRAME), write(other("n", 1, 3)), rtol=0.9).rules is None  # a count
        assert contrast(name, write(FRAME), write(other("name", 1, "Bob")), rtol=0.9).rules is None


# --- CSV ---------------------------------------------------------------------------------------------


def test_line_ends_and_quotes_of_csv() -> None:
    windows, quoted = csv(FRAME, lineterminator="\r\n"), csv(FRAME, quoting=1)
    assert contrast("x.csv", csv(FRAME), windows).rules == ("csv layout",)
    assert contrast("x.csv", csv(FRAME), quoted).rules == ("csv layout",)
    assert contrast("x.tsv", csv(FRAME, sep="\t"), csv(FRAME, sep="\t", lineterminator="\r\n")).rules == ("csv layout",)
    told = contrast("x.csv", csv(FRAME), csv(other("name", 2, "Di")))
    assert told.rules is None
    assert told.detail.splitlines() == ["column  changed", "name    1 of 3", "row 3, name: Cy → Di"]
    assert contrast("x.csv", csv(FRAME), csv(FRAME).rstrip()).rules == ("csv layout",)
    assert contrast("x.csv.gz", gzipped(csv(FRAME)), gzipped(windows)).rules == ("csv layout",)
    assert "Cy → Di" in contrast("x.csv.gz", gzipped(csv(FRAME)), gzipped(csv(other("name", 2, "Di")))).detail


def gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, mtime=1)


def test_csv_that_is_no_table_is_text() -> None:
    told = contrast("x.csv", b"# made by hand\na,b\n1,2\n", b"# made by hand\na,b\n1,3\n")
    assert "-1,2\n+1,3" in told.detail


# --- workbooks ---------------------------------------------------------------------------------------


def workbook(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_excel(file, index=False, engine="openpyxl")
    return file.getvalue()


def written_again(data: bytes, *changes: tuple[str, str, str]) -> bytes:
    """Return a workbook written at another time, with texts changed in its files."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name).decode()
            for where, before, after in changes:
                assert where != name or before in content
                content = content.replace(before, after) if where == name else content
            new.writestr(zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6)), content)
    return file.getvalue()


def test_two_writes_of_a_workbook() -> None:
    one = workbook(FRAME)
    again = written_again(one)
    assert contrast("x.xlsx", one, again).rules == ("zip layout",)
    properties = zipfile.ZipFile(io.BytesIO(one)).read("docProps/core.xml").decode()
    created = properties.split("<dcterms:created", 1)[1].split(">", 1)[1].split("<", 1)[0]
    later = written_again(
        one,
        ("docProps/core.xml", created, "2001-01-01T00:00:00Z"),
        ("docProps/app.xml", "<AppVersion>3.1</AppVersion>", "<AppVersion>9.9</AppVersion>"),
    )
    assert contrast("x.xlsx", one, later).rules == ("office dates",)


def test_one_changed_cell_of_a_workbook_is_named() -> None:
    told = contrast("x.xlsx", workbook(FRAME), workbook(other("n", 1, 7)))
    assert told.rules is None
    assert told.detail == "sheet1 C3: 2 → 7"
    assert contrast("x.xlsx", workbook(FRAME), workbook(other("name", 0, "Eve"))).detail == "sheet1 B2: Ada → Eve"


def test_a_workbook_that_would_unfold_without_end_is_not_read() -> None:
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]>'
    entity = entities + b'<worksheet><c r="A1"><v>&b;</v></c></worksheet>'
    sides = []
    for value in (b"1", b"2"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("xl/worksheets/sheet1.xml", entity + value)
        sides.append(file.getvalue())
    told = contrast("x.xlsx", *sides)
    assert told.rules is None
    assert "sheet1 A1" not in told.detail


# --- SQLite ------------------------------------------------------------------------------------------


def database(path: Path, rows: list[tuple[Any, ...]], *statements: str, page: int = 4096) -> bytes:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size={page}")
    connection.execute("CREATE TABLE prices (name TEXT, price REAL, n INTEGER)")
    connection.executemany("INSERT INTO prices VALUES (?, ?, ?)", rows)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


ROWS: list[tuple[Any, ...]] = [("a", 1.5, 1), ("b", 2.5, 2), (b"c", 3.5, None)]


def test_the_same_rows_on_other_pages(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    one = database(path, ROWS)
    two = database(
        path, ROWS, "INSERT INTO prices VALUES ('z', 0, 0)", "DELETE FROM prices WHERE name = 'z'", page=1024
    )
    assert contrast("x.sqlite", one, two).rules == ("sqlite layout",)
    told = contrast("x.sqlite", one, database(path, [ROWS[0], ("b", 2.75, 2), ROWS[2]], page=1024))
    assert told.rules is None
    assert "table prices" in told.detail
    assert "row 2, price: 2.5 → 2.75" in told.detail
    assert contrast("x.db", one, database(path, [*ROWS[:2], ("c", 3.5, None)])).rules is None  # text, not bytes
    assert contrast("x.db", one, database(path, ROWS, "CREATE TABLE more (x)")).detail == "table more added"
    near = database(path, [("a", 1.50001, 1), *ROWS[1:]])
    assert contrast("x.db", one, near, rtol=1e-3).rules == ("sqlite layout", "numbers within rtol 0.001")


def test_nothing_that_a_database_defines_is_run(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    endless = "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    assert contrast("x.db", database(path, ROWS, endless), database(path, ROWS, endless, page=1024)).rules == (
        "sqlite layout",
    )
    virtual = "CREATE VIRTUAL TABLE t USING fts5(body)"
    told = contrast("x.db", database(path, ROWS, virtual), database(path, ROWS, virtual, page=1024))
    assert told.detail == "compared by bytes: table t is virtual"
    made = "ALTER TABLE prices ADD COLUMN twice AS (randomblob(5) || upper(name))"
    if sqlite3.sqlite_version_info < (3, 31):
        pytest.skip("no generated columns")
    told = contrast(
        "x.db", database(path, ROWS, made.replace("randomblob(5) || ", "")), database(path, ROWS, page=1024)
    )
    assert told.rules is None


def test_bytes_that_are_no_database() -> None:
    assert contrast("x.db", b"SQLite format 3\0" + b"x" * 500, b"y").detail.startswith("compared by bytes: ")


# --- what pandas shows -------------------------------------------------------------------------------


def page(frame: pd.DataFrame) -> bytes:
    shown: str = frame._repr_html_()
    return shown.encode()


def test_a_shown_table_differs_cell_by_cell() -> None:
    told = contrast("x.html", page(FRAME), page(other("age", 1, 39.0)))
    assert told.rules is None
    assert told.detail.splitlines()[-1] == "row 1, age: 38.0 → 39.0"
    wide = "column  changed  min          mean               max"
    assert told.detail.splitlines()[0].split() == wide.split()


def test_a_shown_table_in_another_style() -> None:
    bare = FRAME.to_html().replace('border="1" ', "").encode()
    assert contrast("x.html", page(FRAME).replace(b"<div>", b"").replace(b"</div>", b""), bare).rules == (
        "table style",
    )
    assert contrast("x.html", page(FRAME), page(other("n", 0, 9)).replace(b'border="1" ', b"")).rules is None
    coloured = page(FRAME).replace(b"<td>22.0", b'<td style="color: red">22.0')
    assert contrast("x.html", page(FRAME), coloured).rules is None  # the colour may be a result


def test_a_table_in_text_differs_cell_by_cell() -> None:
    told = contrast("x.txt", repr(FRAME).encode(), repr(other("age", 2, 27.5).assign(n=[1, 2, 4])).encode())
    assert told.detail == "row 2, age  26.5  →  27.5  +3.8 %\nrow 2, n    3     →  4     +33 %"
    used = contrast("x.txt", repr(FRAME).encode(), repr(other()).encode(), rtol=1e-3).rules
    assert used == ("numbers within rtol 0.001",)  # though its columns are wider
