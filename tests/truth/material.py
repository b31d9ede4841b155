"""Makes the files that the cells find: run it as a program, with the folder to fill.

It runs in a process of its own, so that no library it needs is loaded into the tests.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import sqlite3
import sys
import tarfile
import wave
import zipfile
from pathlib import Path

WORKERS = '''
"""What the cells run in other processes."""
import sys


def read(path):
    with open(path) as f:
        return len(f.read())


def write(path):
    with open(path, "w") as f:
        f.write(path)


def frame(path):
    import pandas

    return pandas.read_parquet(path).shape


def lines(path):
    import polars

    return polars.read_parquet(path).height


if __name__ == "__main__":
    text = open(sys.argv[1]).read()
    open(sys.argv[2], "w").write(text)
'''
TEXTS = (
    "edit.txt cut.txt doomed.txt one.txt target.txt both.txt over.txt over2.txt over3.txt over4.txt blind.txt gone.txt "
    "log.txt log2.txt log3.txt mv.txt mvtarget.txt move.txt sed.txt linked.txt s.txt notes.txt archive.tar.txt "
    "noextension .hidden perl.txt old/a.txt old2/b.txt folder/in.txt texts/one/1.txt texts/two/2.txt"
)


def make(root: Path) -> None:
    """Fill a folder: the project, what is outside of it, and a home."""
    project = root / "project"
    for name in ("project/data/many", "project/out", "outside/folder", "outside/computed", "home/data"):
        (root / name).mkdir(parents=True)
    (project / "workers.py").write_text(WORKERS)
    _texts(root, project / "data")
    os.chdir(project / "data")
    _archives()
    _databases()
    if importlib.util.find_spec("pandas") is not None:
        _frames(root / "outside")
    _arrays(root / "outside")
    _links(project)
    if importlib.util.find_spec("matplotlib") is not None:
        import matplotlib.font_manager  # noqa: F401  # it lists the fonts now, and not in each kernel


def _texts(root: Path, data: Path) -> None:
    for name in TEXTS.split():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"hello from {name}\nand another line\n")
    table = "a,b,c\n" + "".join(f"{n},{n / 10},{n * n}\n" for n in range(50))
    odd = (
        "ünï côdé ☃.csv",
        "with  two spaces.csv",
        "again.csv",
        "again2.csv",
        "appended.csv",
        "t.csv",
        "u.csv",
        "hard.csv",
    )
    for name in (*odd, *(f"many/{n}.csv" for n in range(3))):
        (data / name).write_text(table + f"{len(name)},1,1\n")
    for name in ("outside/o.csv", "outside/p.csv", "home/data/home.csv", "outside/folder/y.txt"):
        (root / name).write_text(table + f"{len(name)},2,2\n")
    for name in ("s1.txt", "s2.txt", "computed/s3.txt"):
        (root / "outside" / name).write_text(f"outside {name}\n")
    (data / "ten").mkdir()
    for n in range(10):
        (data / "ten" / f"{n}.txt").write_text(f"number {n}\n")
    (data / "t.tsv").write_text(table.replace(",", "\t"))
    (data / "t.fwf").write_text(table.replace(",", "    "))
    (data / "s.num").write_text("1 2 3\n4 5 6\n")
    (data / "s.svm").write_text("1 1:0.5 2:0.1\n0 1:0.2 2:0.9\n")
    (data / "t.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (data / "t.json").write_text('[{"a": 1}, {"a": 2}]')
    (data / "t.xml").write_text("<data><row><a>1</a></row><row><a>2</a></row></data>")
    (data / "c.yaml").write_text("rate: 0.1\n")
    (data / "c.ini").write_text("[model]\nrate = 0.1\n")
    (data / "empty.txt").touch()
    (data / "rules.mk").write_text("out/made.txt: data/s.txt\n\tcp data/s.txt out/made.txt\n")
    (data / "script.sh").write_text("cat data/s.txt > out/script.txt\n")
    for name in ("s.bin", "map.bin", "edit.bin", "kept.bin"):
        (data / name).write_bytes(bytes(range(128)))
    Path(os.fsdecode(os.fsencode(data) + b"/bytes\xff.bin")).write_bytes(b"odd")


def _archives() -> None:
    Path("t.csv.gz").write_bytes(gzip.compress(Path("t.csv").read_bytes(), mtime=0))
    for name in ("z.zip", "grow.zip"):
        with zipfile.ZipFile(name, "w") as z:
            z.writestr("inner.txt", "inner")
            z.writestr("deep/er.txt", "deeper")
    with tarfile.open("z.tar.gz", "w:gz") as t:
        t.add("s.txt", "inner.txt")
    with wave.open("w.wav", "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(8000)
        w.writeframes(bytes(1600))


def _databases() -> None:
    for name in ("t.db", "w.db", "kept.db"):
        with sqlite3.connect(name) as db:
            db.execute("create table t (a)")
            db.execute("insert into t values (1)")
        db.close()
    if importlib.util.find_spec("duckdb") is not None:
        import duckdb

        for name in ("t.duckdb", "w.duckdb", "kept.duckdb"):
            with duckdb.connect(name) as connection:
                connection.sql("create table t as select 1 as a")


def _frames(outside: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": range(20), "b": [n / 3 for n in range(20)]})
    frame.to_pickle("t.pkl")
    frame.to_stata("t.dta")
    if importlib.util.find_spec("openpyxl") is not None:
        frame.to_excel("t.xlsx")
        frame.to_excel("more.xlsx")
    if importlib.util.find_spec("tables") is not None:
        frame.to_hdf("t.hdf", key="t")
    if importlib.util.find_spec("pyarrow") is None:
        return
    for name in ("folder/x", "rel/r", "fn/f", "spawn/s", "computed/c", "a/b/far", "o", "o2"):
        path = outside / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(d=len(name)).to_parquet(path)
    for name in ("t", "u", "again", "many/0", "many/1", "many/2", "parts/k=a/p", "parts/k=b/p"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        frame.assign(d=name).to_parquet(f"{name}.parquet")
    frame.to_feather("t.feather")
    frame.to_feather("t.arrow", compression="uncompressed")
    frame.to_orc("t.orc")


def _arrays(outside: Path) -> None:
    import numpy as np

    x = np.arange(1000)
    for name in ("s.npy", "edit.npy"):
        np.save(name, x)
    np.savez("s.npz", a=x)
    if importlib.util.find_spec("h5py") is not None:
        import h5py

        for path in ("t.h5", "t2.h5", "grow.h5", "edit.h5", outside / "o.h5"):
            with h5py.File(path, "w") as h:
                h["x"] = x
    if importlib.util.find_spec("PIL") is not None:
        from PIL import Image

        for name in ("p.png", "p2.png", "p.jpg"):
            Image.new("RGB", (16, 16), "red").save(name)
    if importlib.util.find_spec("joblib") is not None:
        import joblib

        joblib.dump(x, "j.joblib")
        joblib.dump({"a": x}, "jz.joblib", compress=3)
    if importlib.util.find_spec("scipy") is not None:
        import scipy.io

        scipy.io.savemat("m.mat", {"x": x})
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.save(torch.arange(100), "t.pt")


def _links(project: Path) -> None:
    links = {
        "link.csv": "data/t.csv",
        "link.parquet": "data/t.parquet",
        "linkdir": "data/many",
        "outlink.txt": "data/linked.txt",
        "away.csv": "../outside/o.csv",
        "away.parquet": "../outside/o.parquet",
        "awaydir": "../outside/folder",
    }
    for name, target in links.items():
        (project / name).symlink_to(target)
    (project / "data" / "hard.csv").unlink()
    os.link(project / "data" / "u.csv", project / "data" / "hard.csv")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
