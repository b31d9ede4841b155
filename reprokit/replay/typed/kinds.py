"""Which kind of content a file name or a MIME type promises, and what compares it.

The one list of all comparers. What a reader of foreign bytes raises ends here: such contents are compared by
their bytes, and the verdict says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache, partial
from pathlib import PurePosixPath

from reprokit.replay.typed.outcome import Comparer, How, Outcome

__all__ = ["FILE_KINDS", "compare", "file_kind", "mime_kind"]

FILE_KINDS = {  # file suffix → kind of content; others are compared by their bytes
    **dict.fromkeys((".txt", ".md", ".log"), "text"),
    **dict.fromkeys((".json", ".geojson", ".ipynb", ".vl", ".vg"), "json"),
    ".csv": "csv",
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    **dict.fromkeys((".html", ".htm"), "html"),
    ".svg": "svg",
    **dict.fromkeys((".xml", ".rels"), "xml"),
    ".png": "png",
    **dict.fromkeys((".jpg", ".jpeg"), "jpeg"),
    ".pdf": "pdf",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather", ".arrows"), "arrow"),
    ".npy": "npy",
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".he5", ".nc4"), "hdf5"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db", ".db3"), "sqlite"),
    **dict.fromkeys((".zip", ".npz", ".xlsx", ".xlsm", ".pt", ".pth", ".keras", ".docx", ".pptx", ".ods"), "zip"),
    ".tar": "tar",
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "pickle"),
}
_PACKED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}  # what is inside has the suffix before, such as .csv.gz
_MIMES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "application/vnd.jupyter.widget-view+json": "widget",
    "text/html": "html",
    "application/javascript": "html",
}


def file_kind(path: str) -> str | None:
    """Return the kind of content a path's suffix promises, or None when no rule knows it.

    >>> file_kind("figures/loss.svg"), file_kind("rows.csv.gz"), file_kind("weights.bin")
    ('svg', 'gzip csv', None)
    """
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    if suffix == ".tgz":
        return "gzip tar"
    if suffix not in _PACKED:
        return FILE_KINDS.get(suffix)
    return f"{_PACKED[suffix]} {FILE_KINDS.get(PurePosixPath(name.stem).suffix.lower(), '')}".rstrip()


def mime_kind(mime: str) -> str | None:
    """Return the kind of content of an output; None of one that only its bytes tell about."""
    if mime in _MIMES:
        return _MIMES[mime]
    if mime.endswith("json"):
        return "json"
    return None if mime.startswith(("image/", "audio/", "video/")) else "text"


def compare(left: bytes, right: bytes, kind: str | None, how: How) -> Outcome:
    """Compare two contents of a kind; those of no kind, and all that cannot be read, by their bytes."""
    if left == right:
        return Outcome(rules=())
    comparer = None if kind is None else _comparer(kind)
    if comparer is None or how.comparison.exact:
        return Outcome()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of readers, about what they read
            return comparer(left, right, how)
    except ImportError as error:
        return Outcome(detail=f"compared by bytes: without {error.name} (`pip install 'reprokit[compare]'`)")
    except Exception as error:  # contents may come from elsewhere, and their readers raise what they like
        return Outcome(detail=f"compared by bytes: {_why(error)}")


def _why(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 120 else words[:119] + "…"


def _comparer(kind: str) -> Comparer | None:
    packed, _, inner = kind.partition(" ")
    comparer = _comparers().get(packed)
    return partial(comparer, inner=inner) if comparer and inner else comparer  # type: ignore[call-arg]


@cache
def _comparers() -> Mapping[str, Comparer]:
    # Inside, for archives hold contents of every kind and come back here for them.
    from reprokit.replay.typed import (
        archives,
        arrays,
        columns,
        databases,
        delimited,
        documents,
        images,
        markup,
        pickles,
        text,
    )

    return {
        "text": text.compare_text,
        "svg": partial(text.compare_text, kind="svg"),
        "xml": partial(text.compare_text, kind="xml"),
        "widget": partial(text.compare_text, kind="widget"),
        "html": markup.compare_html,
        "json": documents.compare_json,
        "csv": delimited.compare_csv,
        "tsv": delimited.compare_tsv,
        "png": images.compare_png,
        "jpeg": images.compare_jpeg,
        "pdf": images.compare_pdf,
        "parquet": columns.compare_parquet,
        "arrow": columns.compare_arrow,
        "npy": arrays.compare_npy,
        "hdf5": arrays.compare_hdf5,
        "sqlite": databases.compare_sqlite,
        "zip": archives.compare_zip,
        "tar": archives.compare_tar,
        "gzip": archives.compare_gzip,
        "bzip2": archives.compare_bzip2,
        "xz": archives.compare_xz,
        "pickle": pickles.compare_pickle,
    }
