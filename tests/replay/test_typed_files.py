"""Pictures, arrays, archives, models and charts by type, in files that the real libraries wrote."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin
from sklearn.linear_model import LinearRegression

from reprokit.replay.comparison import Comparison
from reprokit.replay.typed import images, kinds
from reprokit.replay.typed.outcome import BUDGET, How, Outcome


def contrast(name: str, left: bytes, right: bytes, **options: Any) -> Outcome:
    how = How(comparison=Comparison(**options))
    there = kinds.compare(left, right, kinds.file_kind(name), how)
    assert there.rules == kinds.compare(right, left, kinds.file_kind(name), how).rules
    return there


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


# --- pictures ----------------------------------------------------------------------------------------


def figure(values: list[float], kind: str, **metadata: Any) -> bytes:
    drawn = Figure(figsize=(3, 2))
    drawn.subplots().plot(values)
    return written(lambda file: drawn.savefig(file, format=kind, metadata=metadata or None))


def picture(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    return written(lambda file: Image.fromarray(pixels).save(file, kind, **options))


GREY = np.arange(64 * 48, dtype=np.uint8).reshape(48, 64)


def test_a_figure_saved_by_two_versions() -> None:
    one, two = figure([1, 2], "png", Software="matplotlib 3.8"), figure([1, 2], "png", Software="matplotlib 3.9")
    assert one != two
    assert contrast("x.png", one, two).rules == ("png metadata",)
    titled = figure([1, 2], "png", Title="r2 = 0.9"), figure([1, 2], "png", Title="r2 = 0.8")
    assert contrast("x.png", *titled).detail == "the same pixels; what is written in it changed"


def test_the_same_pixels_packed_otherwise() -> None:
    one, two = picture(GREY, compress_level=1), picture(GREY, compress_level=9)
    assert contrast("x.png", one, two).rules == ("pixels",)
    camera = Image.Exif()
    camera[0x0132] = "2026:05:03 14:02:11"
    assert contrast("x.jpg", picture(GREY, "JPEG"), picture(GREY, "JPEG", exif=camera)).rules == ("pixels",)
    camera[0x010E] = "r2 = 0.9"
    told = contrast("x.jpg", picture(GREY, "JPEG"), picture(GREY, "JPEG", exif=camera))
    assert told.detail == "the same pixels; what is written in it changed"


def test_one_pixel_is_another_picture_however_alike() -> None:
    changed = GREY.copy()
    changed[3, 4] ^= 64
    told = contrast("x.png", picture(GREY), picture(changed))
    assert told.rules is None
    assert told.before.startswith("64×48 pixels, ")
    assert told.detail.startswith("1 of 3,072 pixels differ (0.03%), by at most 64 of 255; SSIM 0.9")
    assert contrast("x.png", picture(GREY), picture(GREY[:-1])).after.startswith("64×47 pixels, ")
    palette = written(lambda file: Image.fromarray(GREY).convert("P").save(file, "PNG"))
    assert contrast("x.png", picture(GREY), palette).detail == "L → P"


def test_structural_similarity() -> None:
    """The known value is of windows of 7 × 7 pixels counted one by one, as the paper defines it."""
    noise = np.random.default_rng(7).integers(0, 255, (20, 30)).astype(np.uint8)
    other = noise.copy()
    other[5:9, 5:9] //= 2
    x, y = noise.astype(float), other.astype(float)
    scores = []
    for i in range(20 - 6):
        for j in range(30 - 6):
            a, b = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
            covariance = np.cov(a, b)
            top = (2 * a.mean() * b.mean() + 6.5025) * (2 * covariance[0, 1] + 58.5225)
            bottom = (a.mean() ** 2 + b.mean() ** 2 + 6.5025) * (covariance[0, 0] + covariance[1, 1] + 58.5225)
            scores.append(top / bottom)
    found = images.ssim(Image.fromarray(noise), Image.fromarray(other))
    assert found == pytest.approx(np.mean(scores), abs=1e-9)
    assert images.ssim(Image.fromarray(noise), Image.fromarray(noise)) == pytest.approx(1)


def test_where_two_pictures_differ_is_drawn() -> None:
    changed = GREY.copy()
    changed[3, 4] ^= 1
    shown = images.difference_picture(picture(GREY), picture(changed))
    assert shown is not None
    drawn = np.asarray(Image.open(io.BytesIO(shown)))
    red = (drawn == (211, 47, 47)).all(axis=2)
    assert np.argwhere(red).tolist() == [[3, 4]]
    assert images.difference_picture(b"\x89PNG", picture(GREY)) is None


def test_a_picture_that_is_too_large_is_not_unfolded() -> None:
    def huge(text: bytes) -> bytes:
        parts = [(b"IHDR", struct.pack(">IIBBBBB", 9_000, 9_000, 8, 0, 0, 0, 0)), (b"IDAT", text), (b"IEND", b"")]
        chunks = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    assert "unfolds to more than" in contrast("x.png", huge(b"1"), huge(b"2")).detail
    many = PngImagePlugin.PngInfo()
    many.add_text("Comment", "a" * 10**7, zip=True)
    told = contrast("x.png", picture(GREY), picture(GREY, pnginfo=many))
    assert told.rules is None


def test_figures_in_svg() -> None:
    one, two = figure([1, 2], "svg"), figure([1, 2], "svg")
    assert one != two  # random ids, and the date
    assert set(contrast("x.svg", one, two).rules or ()) <= {"svg ids", "svg date"}
    assert contrast("x.svg", one, figure([1, 2.01], "svg")).rules is None


# --- arrays ------------------------------------------------------------------------------------------

VALUES = np.linspace(0, 1, 12).reshape(3, 4)


def npy(array: Any) -> bytes:
    return written(lambda file: np.save(file, array, allow_pickle=True))


def test_arrays_by_value() -> None:
    assert contrast("x.npy", npy(VALUES), npy(np.asfortranarray(VALUES))).rules == ("array layout",)
    assert contrast("x.npy", npy(VALUES), npy(VALUES.astype(">f8"))).rules == ("array layout",)
    changed = VALUES.copy()
    changed[1, 2] += 1e-9
    told = contrast("x.npy", npy(VALUES), npy(changed))
    assert told.rules is None
    assert told.detail.splitlines()[0] == "1 of 12 values differ"
    assert told.detail.splitlines()[-1].startswith("[1, 2]: 0.5454545454545454 → ")
    assert contrast("x.npy", npy(VALUES), npy(changed), atol=1e-8).rules == ("numbers within atol 1e-08",)
    assert contrast("x.npy", npy(VALUES), npy(changed), atol=1e-12).rules is None
    assert contrast("x.npy", npy(VALUES), npy(VALUES.astype("f4")), rtol=1).detail == "type float64 → float32"
    assert contrast("x.npy", npy(VALUES), npy(VALUES.T)).detail == "shape 3 × 4 → 4 × 3"
    assert contrast("x.npy", npy(np.array([1, 2])), npy(np.array([1, 3])), rtol=1).rules is None
    assert contrast("x.npy", npy(np.array([0.0])), npy(np.array([-0.0]))).rules is None
    assert contrast("x.npy", npy(np.array(1.5)), npy(np.array(2.5))).detail.splitlines()[-1] == "[]: 1.5 → 2.5"


class Trap:
    """What a pickle may do when it is loaded."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("loaded",)


def test_pickles_inside_arrays_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = (npy(np.array([Trap(), name], dtype=object)) for name in "ab")
    assert contrast("x.npy", one, two).detail == "compared by bytes: it holds pickled objects, which are not read here"
    assert contrast("x.pkl", pickle.dumps([Trap(), 1]), pickle.dumps([Trap(), 2])).rules is None
    assert not (tmp_path / "loaded").exists()


def test_a_header_that_promises_too_much() -> None:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**15},), }}"
    text = head.encode().ljust(117) + b"\n"
    claimed = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    assert contrast("x.npy", claimed + b"1" * 8, claimed + b"2" * 8).detail.startswith("compared by bytes: ")


def test_archives_of_arrays() -> None:
    changed = VALUES.copy()
    changed[0, 1] = 0.5
    one, packed, other = (
        written(lambda file: np.savez(file, x=VALUES, y=np.arange(3))),
        written(lambda file: np.savez_compressed(file, x=VALUES, y=np.arange(3))),
        written(lambda file: np.savez(file, x=changed, y=np.arange(3))),
    )
    assert contrast("x.npz", one, packed).rules == ("zip layout",)
    told = contrast("x.npz", one, other)
    assert told.detail.splitlines()[0] == "x.npy: 1 of 12 values differ"


def hdf5(path: Path, values: Any, **options: Any) -> bytes:
    with h5py.File(path, "w") as file:
        group = file.create_group("model")
        group.attrs["epochs"] = 3
        group.create_dataset("weights", data=values, **options)
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
    return path.read_bytes()


def test_hdf5_by_value(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    one = hdf5(path, VALUES)
    assert contrast("x.h5", one, hdf5(path, VALUES, compression="gzip", chunks=(1, 4))).rules == ("hdf5 layout",)
    changed = VALUES.copy()
    changed[2, 3] = 1.5
    told = contrast("x.h5", one, hdf5(path, changed))
    assert told.detail.splitlines()[0] == "/model/weights: 1 of 12 values differ"
    near = hdf5(path, VALUES + 1e-9)
    assert contrast("x.h5", one, near, atol=1e-6).rules == ("hdf5 layout", "numbers within atol 1e-06")
    with h5py.File(path, "a") as file:
        file["model"].attrs["epochs"] = 4
    assert "/model@epochs: 1 of 1 values differ" in contrast("x.h5", near, path.read_bytes()).detail


def test_no_link_leads_out_of_an_hdf5_file(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret.h5", tmp_path / "x.h5"
    hdf5(secret, VALUES)
    sides = []
    for target in ("/model/weights", "/names"):
        with h5py.File(path, "w") as file:
            file["there"] = h5py.ExternalLink(str(secret), target)
            file["loop"] = h5py.SoftLink("/")
        sides.append(path.read_bytes())
    told = contrast("x.h5", *sides)
    assert "link to" in told.detail
    outside = tmp_path / "raw"
    outside.write_bytes(VALUES.tobytes())
    kept = []
    for chunk in ((1, 4), None):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", (3, 4), "f8", external=[(str(outside), 0, 96)])
            file.attrs["chunk"] = str(chunk)
        kept.append(path.read_bytes())
    assert contrast("x.h5", *kept).detail == "compared by bytes: /x keeps its values in other files"


def test_an_hdf5_file_that_would_unfold_too_far(tmp_path: Path) -> None:
    sides = []
    for name in "ab":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("x", (BUDGET,), "f8", chunks=(1000,), compression="gzip")
            file.attrs["name"] = name
        sides.append((tmp_path / "x.h5").read_bytes())
    assert "unfolds to more than" in contrast("x.h5", *sides).detail


# --- archives ----------------------------------------------------------------------------------------


def zipped(year: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_", "."), (year, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def tarred(moment: int, owner: str, **members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.mtime, info.uname, info.size = moment, owner, len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_archives_by_what_is_in_them() -> None:
    assert contrast("x.zip", zipped(2001, a_csv=b"1"), zipped(2002, a_csv=b"1")).rules == ("zip layout",)
    told = contrast("x.zip", zipped(2001, a_csv=b"a,b\n1,2\n"), zipped(2002, a_csv=b"a,b\n1,3\n"))
    assert "a.csv: " in told.detail
    assert "row 1, b: 2 → 3" in told.detail
    assert contrast("x.zip", zipped(2001, a=b"1"), zipped(2001, a=b"1", b=b"2")).detail == "b: added"
    one, two = (tarred(moment, owner, a_txt=b"x", b_bin=b"y") for moment, owner in ((1, "ada"), (2, "bo")))
    assert contrast("x.tar", one, two).rules == ("tar layout",)
    assert contrast("x.tar", one, tarred(1, "ada", a_txt=b"x", b_bin=b"z")).detail == "b.bin: its bytes changed"
    packs: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("gz", gzip.compress),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
    ]
    for suffix, pack in packs:
        assert contrast(f"x.tar.{suffix}", pack(one), pack(two)).rules == ("tar layout",)
    assert contrast("x.txt.gz", gzip.compress(b"1" * 99, 1), gzip.compress(b"1" * 99, 9)).rules in (
        ("gzip layout",),
        ("gzip date",),
    )
    assert contrast("x.bin.gz", gzip.compress(b"1"), gzip.compress(b"2")).rules is None


def test_an_archive_that_would_unfold_without_end() -> None:
    file = io.BytesIO()
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("x", "w") as member:
        for _ in range(BUDGET // 10**7 + 1):
            member.write(bytes(10**7))
    sides = []
    for content in "12":
        copy = io.BytesIO(file.getvalue())
        with zipfile.ZipFile(copy, "a") as longer:
            longer.writestr("y", content)
        sides.append(copy.getvalue())
    assert max(map(len, sides)) < BUDGET / 100
    assert "unfolds to more than" in contrast("x.zip", *sides).detail
    nested = [b"1", b"2"]
    for _ in range(10):
        nested = [zipped(2001, x_zip=content) for content in nested]
    assert contrast("x.zip", *nested).rules is None


# --- models ------------------------------------------------------------------------------------------


def model(last: float) -> LinearRegression:
    x = np.arange(8.0).reshape(4, 2)
    return LinearRegression().fit(x, np.array([1.0, 2.0, 3.0, last]))


def dumped(value: Any, **options: Any) -> bytes:
    return written(lambda file: joblib.dump(value, file, **options))


def test_models_are_compared_by_what_they_hold() -> None:
    one = model(4.5)
    for name, dump in (("x.pkl", pickle.dumps), ("x.joblib", dumped)):
        assert contrast(name, dump(one), dump(one, protocol=2)).rules == ("pickle layout",)
        told = contrast(name, dump(one), dump(model(5.5)))
        assert told.rules is None
        assert "coef_[0]" in told.detail
        assert "intercept_" in told.detail
        near = contrast(name, dump(one), dump(model(4.5 + 1e-9)), rtol=1e-6, atol=1e-6)
        assert near.rules == ("numbers within rtol 1e-06, atol 1e-06",)
    for packing in ("zlib", "gzip", "bz2", "xz"):
        assert contrast("x.joblib", dumped(one), dumped(one, compress=(packing, 3))).rules == ("pickle layout",)


def test_objects_that_only_were_written_otherwise() -> None:
    text = "".join(["sh", "ared"])
    copy = "".join(["sha", "red"])
    assert contrast("x.pkl", pickle.dumps([text, text]), pickle.dumps([text, copy])).rules == ("pickle layout",)
    one, two = [1], [1]
    assert contrast("x.pkl", pickle.dumps([one, one]), pickle.dumps([one, two])).rules is None  # another object
    left, right = b"\x80\x04\x8f(K\x01K\x02\x90.", b"\x80\x04\x8f(K\x02K\x01\x90."
    assert pickle.loads(left) == pickle.loads(right) == {1, 2}
    assert contrast("x.pkl", left, right).rules == ("set order",)
    assert contrast("x.pkl", pickle.dumps({"a": 1, "b": 2}), pickle.dumps({"b": 2, "a": 1})).rules is None
    assert contrast("x.pkl", pickle.dumps(1), pickle.dumps(True)).rules is None
    assert contrast("x.pkl", pickle.dumps({1}), pickle.dumps(frozenset({1}))).rules is None
    pairs = {(1, 2)}
    assert contrast("x.pkl", pickle.dumps(pairs), pickle.dumps(pairs)[:-1] + b"00N.").rules is None
    assert contrast("x.pkl", pickle.dumps(pairs), pickle.dumps(pairs, protocol=5)).rules == ("pickle layout",)
    appended, put = (b"cx\ny\n)R(I1\nI2\n" + add for add in (b"e.", b"u."))
    assert contrast("x.pkl", appended, put).rules is None
    loop: list[Any] = [1]
    loop.append(loop)
    assert contrast("x.pkl", pickle.dumps(loop), pickle.dumps(loop, protocol=2)).rules == ("pickle layout",)


def test_references_to_what_is_kept_elsewhere() -> None:
    class Keeper(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", len(obj)) if isinstance(obj, bytes) else None

    def kept(name: bytes, protocol: int) -> bytes:
        return written(lambda file: Keeper(file, protocol).dump([name, 1]))

    assert contrast("x.pkl", kept(b"0", 2), kept(b"1", 4)).rules == ("pickle layout",)
    assert contrast("x.pkl", kept(b"0", 2), kept(b"10", 2)).rules is None


@pytest.mark.parametrize(("name", "one"), [("x.pkl", b"]" * 5_000 + b"a" * 4_999), ("x.json", b"[" * 50_000)])
def test_contents_nested_without_end(name: str, one: bytes) -> None:
    assert contrast(name, one + b".", b"]" + one + b"a.").rules is None


def test_a_pickle_that_grows_with_every_step_is_read_in_bounded_time() -> None:
    value: Any = ()
    for _ in range(200):
        value = (value, value)
    assert contrast("x.pkl", pickle.dumps(value), pickle.dumps(value, protocol=2)).rules == ("pickle layout",)


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80\x04}\x94(u.", b"cos\nsystem\n(S'x'\ntR", b"I1\n0.", b"\x82\x01."]
)
def test_what_is_no_whole_pickle(content: bytes) -> None:
    assert contrast("x.pkl", content, pickle.dumps(1)).rules is None


# --- JSON and charts ---------------------------------------------------------------------------------


def test_json_by_value() -> None:
    one = {"b": [1, 2.5], "a": {"x": "<A at 0x7f10a2b3c4d0>"}}
    two = {"a": {"x": "<A at 0x7f99123456aa>"}, "b": [1, 2.5]}
    left, right = json.dumps(one).encode(), json.dumps(two, indent=2).encode()
    assert contrast("x.json", left, right).rules == ("json layout", "memory addresses")
    told = contrast("x.json", left, right.replace(b"2.5", b"2.75"))
    assert told.detail == "$.b[1]  2.5  →  2.75  +10 %"
    assert contrast("x.json", b'{"a": 1}', b'{"a": 1.0}').rules is None
    assert contrast("x.json", b'{"a": 1}', b'{"a": true}').rules is None
    assert contrast("x.json", b'{"a": 0.1}', b'{"a": 0.1000000000000000055}').rules is None
    assert contrast("x.json", b'{"a": 1, "a": 2}', b'{"a":3,"a":2}').rules is None
    used = contrast("x.json", b'{"a": 0.1,"b":1}', b'{"b": 1, "a": 0.1001}', rtol=0.01).rules
    assert used == ("json layout", "numbers within rtol 0.01")


PLOTLY = (
    '<div id="{0}" class="plotly-graph-div"></div><script type="text/javascript">window.PLOTLYENV={{}};'
    'if (document.getElementById("{0}")) {{ Plotly.newPlot("{0}", [{{"uid":"{1}","x":[1,2],"y":[3.5,{2}],'
    '"type":"scatter"}}], {{}}) }};</script>'
)
VEGA = (
    '{{"config": {{}}, "data": {{"name": "data-{0}"}}, "mark": {{"type": "bar"}}, '
    '"datasets": {{"data-{0}": [{{"a": "A", "b": {1}}}]}}}}'
)
BOKEH = (
    '<div id="{1}" data-root-id="{2}"></div><script>const docs_json = \'{{"{0}":{{"version":"3.4.1","roots":['
    '{{"type":"object","name":"Figure","id":"{2}","attributes":{{"x_range":{{"id":"{3}"}},'
    '"data":{{"type":"map","entries":[["y",[1.5,{4}]]]}},"factors":["p1001","1002"]}}}}]}}}}\';'
    'const render_items = [{{"docid":"{0}","roots":{{"{2}":"{1}"}},"root_ids":["{2}"]}}];</script>'
)
ONE, TWO = "2f1b7c0e-58a4-4b5e-9d8e-0123456789ab", "9a0b7c0e-58a4-4b5e-9d8e-ba9876543210"
CHARTS = [
    ("x.html", "html ids", PLOTLY, (ONE, TWO, "4.5"), (TWO, ONE, "4.5"), (TWO, ONE, "4.6")),
    ("x.json", "chart ids", VEGA, ("a" * 32, "5.5"), ("b" * 32, "5.5"), ("b" * 32, "5.6")),
    (
        "x.html",
        "chart ids",
        BOKEH,
        (ONE, "c" * 32, "p1001", "p1002", "2.5"),
        (TWO, "d" * 32, "p2001", "p2002", "2.5"),
        (TWO, "d" * 32, "p2001", "p2002", "2.6"),
    ),
]


@pytest.mark.parametrize(("name", "rule", "form", "one", "two", "other"), CHARTS)
def test_charts_but_for_their_ids(
    name: str, rule: str, form: str, one: tuple[str, ...], two: tuple[str, ...], other: tuple[str, ...]
) -> None:
    used = contrast(name, form.format(*one).encode(), form.format(*two).encode()).rules
    assert used is not None
    assert rule in used
    assert set(used) <= {"chart ids", "html ids"}
    assert contrast(name, form.format(*one).encode(), form.format(*other).encode()).rules is None


def test_what_a_chart_shows_is_no_id() -> None:
    values = (ONE, "c" * 32, "p1001", "p1002", "2.5")
    shown = BOKEH.format(*values)
    for before, after in (('"p1001","1002"]', '"p1003","1002"]'), ('"p1001","1002"]', '"p1001","1003"]')):
        changed = shown.replace(before, after)
        assert changed != shown
        assert contrast("x.html", shown.encode(), changed.encode()).rules is None
    users = '{{"users": [{{"uid": "{}", "n": 1}}]}}'
    assert contrast("x.json", users.format(ONE).encode(), users.format(TWO).encode()).rules is None
    table = '{"root_ids": 1, "rows": [{"name": "p1001", "sku": "p1002"}]}'
    assert contrast("x.json", table.encode(), table.replace("p1002", "p1003").encode()).rules is None


# --- without the libraries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module"),
    [("x.jpg", "PIL"), ("x.npy", "numpy"), ("x.parquet", "pyarrow"), ("x.feather", "pyarrow"), ("x.h5", "h5py")],
)
def test_without_its_library_a_file_is_compared_by_bytes(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for loaded in [one for one in sys.modules if one.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    told = contrast(name, b"1", b"2")
    assert told.rules is None
    assert told.detail.endswith("(`pip install 'reprokit[compare]'`)")
    assert contrast(name, b"1", b"1").rules == ()
