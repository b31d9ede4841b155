"""Rules on paths: absolute ones, those out of the project, and files that are not there."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from reprokit.errors import UsageError
from reprokit.lint.calls import Call, Calls
from reprokit.lint.finding import Finding
from reprokit.lint.source import Document, read

__all__ = ["findings"]

# The path is the first argument of all of these.
_READS = frozenset(
    (
        "read_csv", "read_table", "read_excel", "read_json", "read_parquet", "read_feather", "read_pickle", "read_hdf",
        "read_stata", "read_sas", "read_spss", "read_fwf", "read_orc", "read_xml", "scan_csv", "scan_parquet", "imread",
        "loadtxt", "genfromtxt", "fromfile", "load_workbook", "open_dataset", "open_mfdataset", "read_file",
    )
)  # fmt: skip
_LOADS = frozenset(
    (
        "numpy.load", "joblib.load", "torch.load", "PIL.Image.open", "open", "io.open", "gzip.open", "bz2.open",
        "lzma.open", "zipfile.ZipFile", "tarfile.open", "h5py.File", "sqlite3.connect", "numpy.memmap", "codecs.open",
    )
)  # fmt: skip
_WRITES = re.compile(
    r"^(to_(csv|excel|json|parquet|feather|pickle|hdf|stata|html|latex|markdown|netcdf|zarr)|save|savez\w*|savefig|savetxt"
    r"|dump|write_\w+|imsave|imwrite|urlretrieve|tofile|copy\w*|move|rename|touch|mkdir|makedirs|write_text|write_bytes"
    r"|extractall|download\w*|get_file|save_\w+|unpack_archive)$"
)
_PATHS = frozenset(
    ("pathlib.Path", "os.path.join", "os.listdir", "os.walk", "glob.glob", "os.makedirs", "os.path.exists")
)
# Somebody's own machine, or a host that gives it a new one each time; a scratch file in /tmp is neither.
_HOME = re.compile(r"^(?:/(?:home|Users|mnt|media|root|content|kaggle|Volumes)/[^/\s]|~[/\\]|[A-Za-z]:[\\/]{1,2}[\w ])")
_BESIDE = 50  # how many other notebooks of a folder are looked into
_ABSOLUTE = re.compile(r"^(?:/(?!dev/|tmp/|proc/|\0)[\w.-]+/|[A-Za-z]:[\\/])")


def findings(document: Document, calls: Calls, root: Path) -> Iterator[Finding]:
    """Yield the paths that another machine does not have.

    Args:
        document: what is checked.
        calls: its calls.
        root: the project root.
    """
    yield from _absolute(document, calls)
    yield from _outside(document, calls, root)
    yield from _moved(document, calls)
    if not _moves(document, calls):
        yield from _missing(document, calls)


def _absolute(document: Document, calls: Calls) -> Iterator[Finding]:
    in_calls = {id(node) for call in calls.all if _takes_path(call) for node in ast.walk(call.node)}
    told: set[str] = set()
    for block in document.blocks:
        found: dict[str, int] = {}
        for node in block.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _is_prose(node, calls):
                pattern = _ABSOLUTE if id(node) in in_calls else _HOME
                if pattern.match(node.value) and len(node.value) < 300 and "\n" not in node.value:
                    found.setdefault(node.value, node.lineno)
        new = {text: line for text, line in found.items() if text not in told}
        told |= new.keys()
        if new:
            first = min(new, key=lambda text: new[text])
            more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
            yield _finding("P301", f"{first!r} is a path of one machine{more}", block.number, new[first])


def _takes_path(call: Call) -> bool:
    return _is_read(call) or call.name in _PATHS or _WRITES.match(call.method) is not None


def _is_prose(node: ast.AST, calls: Calls) -> bool:
    parent = calls.parents.get(id(node))
    if isinstance(parent, ast.Expr):  # a docstring, or a note to the reader
        return True
    return isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "print"


def _outside(document: Document, calls: Calls, root: Path) -> Iterator[Finding]:
    told: set[str] = set()
    for call in calls.all:
        if not _takes_path(call) and call.name != "sys.path.append":
            continue
        text = calls.text(call.argument(0, "path", "filepath_or_buffer", "fname", "file", "filename"))
        if not text or not text.startswith(("../", "..\\")) or text in told:
            continue
        known = text.replace("\\", "/").partition("\0")[0].partition("*")[0]
        if not (document.folder / known).resolve().is_relative_to(root):
            told.add(text)
            shown = text.replace("\0", "…")
            yield _finding("P302", f"{shown!r} leads out of the project", call.block.number, call.line)


def _moved(document: Document, calls: Calls) -> Iterator[Finding]:
    for call in calls.all:
        if call.name == "os.chdir":
            yield _finding(
                "P304", "os.chdir changes what every relative path after it means", call.block.number, call.line
            )
    for block in document.blocks:
        for magic in block.magics:
            if magic.name == "cd":
                yield _finding("P304", "%cd changes what every relative path after it means", block.number, magic.at)


def _moves(document: Document, calls: Calls) -> bool:
    """Return whether files may come from where the text does not say: another folder, a download, an archive."""
    if any(call.name == "os.chdir" or call.method in ("extractall", "unpack_archive") for call in calls.all):
        return True
    magics = [magic for block in document.blocks for magic in block.magics]
    fetches = re.compile(r"\b(wget|curl|unzip|tar|git|kaggle|gdown|gsutil|aws|cp|mv|dvc|cat|echo|python3?|drive)\b|>")
    return any(
        magic.name in ("cd", "run")
        or (magic.name in ("!", "bash", "sh", "system", "sx") and fetches.search(f"{magic.line}\n{magic.body}"))
        for magic in magics
    )


def _missing(document: Document, calls: Calls) -> Iterator[Finding]:
    made = {PurePosixPath(path).name for path in _made(document, calls)}
    made |= {f"{name}{suffix}" for name in made for suffix in (".npy", ".npz", ".zip", ".gz")}
    told: set[str] = set()
    beside: frozenset[str] | None = None
    for call in calls.all:
        text = calls.text(call.argument(0, "path", "filepath_or_buffer", "fname", "file", "filename", "io"))
        if not _is_read(call) or call.inside or not text or not _is_plain(text):
            continue
        path = os.path.normpath(text)
        name = PurePosixPath(path).name
        if path not in told and name not in made and not (document.folder / path).exists():
            beside = _made_beside(document) if beside is None else beside
            if name in beside:
                continue
            told.add(path)
            yield _finding("P303", f"{text!r} is not there", call.block.number, call.line)


def _made_beside(document: Document) -> frozenset[str]:
    """Return the names of files that other notebooks of the same folder may write: one step of a pipeline each."""
    names: set[str] = set()
    for path in sorted(document.folder.glob("*.ipynb"))[:_BESIDE]:
        try:
            other = read(path) if path.name != document.path.name else None
        except UsageError:
            continue
        names |= {PurePosixPath(made).name for made in _made(other, Calls(other.blocks))} if other else set()
    return frozenset(names)


def _is_plain(text: str) -> bool:
    """Return whether a text is certainly a relative path of one file."""
    return not re.search(r"[\0*?\[\]{}\n<>|;,=()]|://|^[/~]|^[A-Za-z]:", text) and "." in PurePosixPath(text).name


def _is_read(call: Call) -> bool:
    mode = call.argument(-1 if call.name == "numpy.memmap" else 1, "mode")
    if (
        mode is not None
        and (call.name in _LOADS)
        and not (isinstance(mode, ast.Constant) and str(mode.value)[:1] in "rc")
    ):
        return False
    return call.name in _LOADS or (call.method in _READS and call.method != call.name)


def _made(document: Document, calls: Calls) -> Iterator[str]:
    """Yield the paths that the document itself may write."""
    for call in calls.all:
        writes = _WRITES.match(call.method) or not _is_read(call)
        if writes:
            for node in [*call.node.args, *(keyword.value for keyword in call.node.keywords)]:
                text = calls.text(node)
                if text:
                    yield text.replace("\0", "")
    for block in document.blocks:
        for magic in block.magics:
            if magic.name in ("writefile", "file", "%writefile"):
                yield from magic.line.replace("-a", "").split()[:1]


def _finding(code: str, message: str, cell: int, line: int) -> Finding:
    remedies = {
        "P301": "use a path relative to the notebook, and keep the data in the project",
        "P302": "keep the data in the project, or track it with DVC",
        "P303": "put the file where the notebook looks for it, or say how to get it",
        "P304": "use paths relative to the notebook's folder",
    }
    return Finding(code=code, message=message, remedy=remedies[code], cell=cell, line=line)
