"""Where a file came from, back to the sources, and where it went; told from the index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reprokit.cli import main
from reprokit.digest import of_bytes
from reprokit.records import Cell, FileUse
from reprokit.records.lineage import Lineage
from reprokit.store.layout import new_run_id
from reprokit.store.lineage import History
from reprokit.store.store import Store


class Work:
    """Writes runs that read and write files, one after the other."""

    def __init__(self, project: Path) -> None:
        self.store = Store.open(project)
        self.clock = 1.7e9

    def run(self, name: str, reads: dict[str, bytes], writes: dict[str, bytes], replay_of: str | None = None) -> str:
        self.clock += 100
        run_id, journal = self.store.new_run(run_id=new_run_id(self.clock))
        journal.append({"set": {"name": name, "started": self.clock, "status": "done", "replay_of": replay_of}})
        cell = Cell(seq=1, source="", reads=self._uses(reads, "read"), writes=self._uses(writes, "write"))
        told = cell.to_dict()
        journal.append({"cell": 1, "set": {key: told[key] for key in ("source", "reads", "writes")}})
        journal.close()
        return run_id

    @staticmethod
    def _uses(files: dict[str, bytes], access: str) -> tuple[FileUse, ...]:
        return tuple(FileUse(path=path, access=access, digest=of_bytes(data)) for path, data in files.items())

    def of_file(self, path: str, data: bytes | None) -> Lineage | None:
        with self.store.index.asked() as answer:
            return History(answer).of_file(path, None if data is None else of_bytes(data))


@pytest.fixture
def work(project: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Raw data is prepared (twice, with the same result), a model is trained on it, and evaluated."""
    monkeypatch.chdir(project)
    work = Work(project)
    work.run("prepare", {"raw.csv": b"raw"}, {"clean.csv": b"clean"})
    prepared = work.run("prepare", {"raw.csv": b"raw"}, {"clean.csv": b"clean"})
    trained = work.run("train", {"clean.csv": b"clean", "params.yaml": b"p"}, {"model.pkl": b"model"})
    work.run("train", {"clean.csv": b"clean"}, {"model.pkl": b"model"}, replay_of=trained)
    work.run("prepare", {"raw.csv": b"raw 2"}, {"clean.csv": b"clean 2"})
    work.run("evaluate", {"model.pkl": b"model", "test.csv": b"t"}, {"score.json": b"0.9"})
    assert prepared < trained
    return work


def test_a_file_leads_back_to_its_sources(work: Work) -> None:
    found = work.of_file("model.pkl", b"model")
    assert found is not None
    assert found.validate() == found
    (origin,) = found.origins
    assert origin.maker is not None
    assert (origin.maker.name, origin.others) == ("train", 0), "a replay made nothing new"
    clean, params = origin.maker.inputs
    assert (clean.path, params.path, params.maker) == ("clean.csv", "params.yaml", None)
    assert clean.maker is not None
    assert (clean.maker.name, clean.others) == ("prepare", 1)
    assert [(one.path, one.maker) for one in clean.maker.inputs] == [("raw.csv", None)]
    assert [(one.name, [out.path for out in one.outputs]) for one in found.readers] == [("evaluate", ["score.json"])]


def test_a_source_leads_forward_to_everything_made_from_it(work: Work) -> None:
    found = work.of_file("raw.csv", b"raw")
    assert found is not None
    assert found.origins[0].maker is None
    first, second = found.readers
    assert (first.name, second.name) == ("prepare", "prepare")
    told = json.dumps(found.to_dict())
    assert "score.json" in told
    assert "clean.csv" in told
    assert told.count('"score.json"') == 1, "what was told is not told again"


def test_files_are_known_by_their_bytes(work: Work) -> None:
    copied = work.of_file("copy/of it.pkl", b"model")
    assert copied is not None
    assert copied.origins[0].maker is not None
    changed = work.of_file("model.pkl", b"by hand")
    assert changed is not None
    assert "changed since" in changed.note
    assert changed.origins[0].digest == of_bytes(b"model")
    gone = work.of_file("clean.csv", None)
    assert gone is not None
    assert (gone.note, gone.origins[0].digest) == ("it is not there today", of_bytes(b"clean 2"))
    assert work.of_file("never.csv", b"never") is None


def test_a_file_that_is_read_and_written_the_same_ends(work: Work) -> None:
    work.run("touch", {"a": b"same"}, {"a": b"same"})
    work.run("touch", {"a": b"same"}, {"a": b"same"})
    found = work.of_file("a", b"same")
    assert found is not None
    assert found.origins[0].maker is not None
    assert found.origins[0].maker.inputs[0].maker is not None


def test_of_a_dataset_its_files_are_found(work: Work) -> None:
    work.run("many", {"images/": b"[...]"}, {"out.npy": b"o"})
    found = work.of_file("images/7.png", b"one of them")
    assert found is not None
    assert [reader.name for reader in found.readers] == ["many"]


def test_the_command(work: Work, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "model.pkl").write_bytes(b"model")
    assert main(["lineage", "model.pkl"]) == 0
    text = capsys.readouterr().out
    assert "made by" in text
    assert "raw.csv" in text
    assert "a source: no run made it" in text
    assert text.index("read by") > text.index("raw.csv")
    assert main(["lineage", "evaluate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [origin["path"] for origin in told["origins"]] == ["model.pkl", "test.csv"]
    (project / "other.txt").write_text("x")
    for word, said in (("other.txt", "no run read or wrote other.txt"), ("nothing", "no file that a run used, and no")):
        assert main(["lineage", word]) == 2
        assert said in capsys.readouterr().err
