"""What shells and libraries do with files comes back in a replay: moves, appends, edits in place, whole folders."""

from __future__ import annotations

from pathlib import Path

from workbench import Bench

from reprokit.records import Run


def reads(run: Run, cell: int) -> dict[str, tuple[str, bool]]:
    """Return what a cell read: where it is kept, and whether the run had made it."""
    return {use.path: (use.stored, use.own) for use in run.cells[cell - 1].reads}


def test_shell_commands_that_change_their_input(bench: Bench) -> None:
    commands = [
        "mv data/1/a.csv data/1/b.csv && wc -c data/1/b.csv",
        "echo more >> data/2/a.csv && cat data/2/a.csv",
        "sed -i s/one/two/ data/3/a.csv && cat data/3/a.csv",
        "cat data/4/a.csv && rm data/4/a.csv",
        "sort -o data/5/a.csv data/5/a.csv && cat data/5/a.csv",
    ]
    (bench.project / ".gitignore").write_text("data/\n")  # so that no snapshot of the code brings it back
    inputs = [bench.project / f"data/{number}/a.csv" for number in range(1, len(commands) + 1)]
    for path in inputs:
        path.parent.mkdir(parents=True)
        path.write_text("one\n")
    bench.notebook("work.ipynb", *(f"!{command}" for command in commands))
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    run = bench.latest()
    for number in range(1, len(commands) + 1):
        assert reads(run, number)[f"data/{number}/a.csv"] == ("object", False)
    assert not any(gap.blocks for gap in run.gaps), run.gaps
    for path in inputs:
        path.unlink(missing_ok=True)
    assert bench.verdict("latest")["verdict"] == "identical"


def test_a_folder_of_very_many_files(bench: Bench) -> None:
    (bench.project / ".gitignore").write_text("images/\n")
    for number in range(300):
        path = bench.project / f"images/train/{number % 3}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    count = "import pathlib\nprint(sum(int(p.read_text()) for p in sorted(pathlib.Path('images').rglob('*.txt'))))"
    bench.notebook("work.ipynb", count)
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    (use,) = bench.latest().cells[0].reads
    assert (use.path, use.files, use.stored) == ("images/train/", 300, "object")
    assert "images/train/ (300 files)" in bench.reprokit("show", "latest")
    first = bench.project / "images/train/0/0.txt"
    first.write_text("7")
    assert bench.verdict("latest")["verdict"] == "identical"
    bench.reprokit("run", "work.ipynb")
    told = bench.reprokit("diff", "latest~1", "latest", code=1)
    assert "1 of 300 files differ: images/train/0/0.txt" in told


def test_a_manifest_that_names_files_elsewhere_is_not_believed(tmp_path: Path) -> None:
    from reprokit.digest import canonical_json
    from reprokit.records import FileUse
    from reprokit.replay import folders

    use = FileUse(path="images/", access="read", digest="sha256:x", files=1)
    for path in ("../elsewhere", "images/../../x", "/etc/passwd"):
        item = FileUse(path=path, access="read").to_dict()
        assert folders.members(use, lambda digest, item=item: canonical_json([item])) is None  # type: ignore[misc]
