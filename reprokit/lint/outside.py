"""Rules on what comes from outside the notebook: network, clock, environment, and the user."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from reprokit.lint.calls import Call, Calls
from reprokit.lint.finding import Finding
from reprokit.lint.source import Block, Document, Magic

__all__ = ["findings"]

_URL = re.compile(r"^(?:https?|ftp|s3|gs|hf|abfss?)://", re.IGNORECASE)
_PINNED = re.compile(r"[0-9a-f]{40}|/releases/download/|[?&]versionId=|zenodo\.org/records?/\d")
_LOCAL = re.compile(r"//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])")
_REQUESTS = re.compile(
    r"^(requests|httpx)\.(get|post|request|put)$|^urllib\.request\.(urlopen|urlretrieve)$|^wget\.download$"
)
_READERS = re.compile(
    r"^(read_\w+|scan_\w+|open_dataset|imread|loadtxt|genfromtxt|from_url|load_url|get_file|load_state_dict_from_url)$"
)

_CLOCKS = frozenset(
    (
        "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow", "datetime.date.today",
        "pandas.Timestamp.now", "pandas.Timestamp.today", "pandas.Timestamp.utcnow", "time.time", "time.time_ns",
        "time.ctime", "time.localtime", "time.gmtime", "time.strftime", "time.asctime",
    )
)  # fmt: skip
_FETCHERS = re.compile(
    r"(?:^|[;&|(]\s*|\s)(wget|curl|gdown|kaggle\s+\S+\s+download|git\s+clone|gsutil\s+\S*\s*cp|aws\s+s3\s+(?:cp|sync))\s"
)
_INSTALL = re.compile(r"(?:^|[;&|]\s*|\s|-m\s+)(?:pip3?|conda|mamba|uv\s+pip)\s+install\s+(?P<words>[^;&|#>]*)")
_OPTIONS_WITH_VALUE = frozenset(
    (
        "-r",
        "--requirement",
        "-i",
        "--index-url",
        "-c",
        "--channel",
        "-f",
        "--find-links",
        "-t",
        "-n",
        "-p",
        "--extra-index-url",
        "--name",
        "--prefix",
        "--target",
    )
)


def findings(document: Document, calls: Calls) -> Iterator[Finding]:
    """Yield what depends on the world around the notebook."""
    timing = _timing_names(document)
    for call in calls.all:
        yield from _network(call, calls)
        yield from _clock(call, timing)
        yield from _asked(call)
    for block in document.blocks:
        yield from _of_magics(block)
    yield from _environment(document, calls)


# -- network --------------------------------------------------------------------------------------


def _network(call: Call, calls: Calls) -> Iterator[Finding]:
    requested = _REQUESTS.match(call.name) is not None
    if not requested and not _READERS.match(call.method):
        return
    texts = [calls.text(node) for node in [*call.node.args[:2], *(word.value for word in call.node.keywords)]]
    url = next((text for text in texts if text and _URL.match(text)), None)
    if url is None and (not requested or call.method not in ("get", "urlopen", "urlretrieve", "download")):
        return  # what is posted to an address that is not known is seldom data
    if url and (_PINNED.search(url) or _LOCAL.search(url)):
        return
    what = url.replace("\0", "…") if url else f"what {call.name} fetches"
    yield Finding(
        code="N501",
        message=f"{what if len(what) < 100 else what[:99] + '…'} may give something else tomorrow",
        remedy="keep a copy in the project (`%repro data`, DVC), or name a version in the address",
        cell=call.block.number,
        line=call.line,
    )


def _of_magics(block: Block) -> Iterator[Finding]:
    fetched: dict[str, int] = {}
    loose: dict[str, int] = {}
    for magic in block.magics:
        for at, line in _commands(magic):
            match = _FETCHERS.search(f"{line} ")
            if match and not _PINNED.search(line) and not _LOCAL.search(line) and "--version" not in line:
                fetched.setdefault(match[1].split()[0], at)
            for name in _unpinned(line):
                loose.setdefault(name, at)
        if magic.name == "store" and "-r" in magic.line.split():
            message, remedy = "%store -r brings back variables of another session", "compute them here, or read a file"
            yield Finding(code="E603", message=message, remedy=remedy, cell=block.number, line=magic.at)
    if fetched:
        message = f"{', '.join(fetched)} fetches what may be something else tomorrow"
        yield Finding(code="N502", message=message, remedy=_KEEP, cell=block.number, line=min(fetched.values()))
    if loose:
        names = ", ".join(list(loose)[:5]) + (" …" if len(loose) > 5 else "")
        message, remedy = f"the newest {names} of the day is installed", f"write {next(iter(loose))}==VERSION"
        yield Finding(code="N503", message=message, remedy=remedy, cell=block.number, line=min(loose.values()))


def _commands(magic: Magic) -> Iterator[tuple[int, str]]:
    """Yield the shell's command lines in a magic, each with its line."""
    if magic.name in ("pip", "conda", "mamba", "uv"):
        yield magic.at, f"{magic.name} {magic.line}"
    elif magic.name == "!":
        yield magic.at, magic.line
    elif magic.name in ("bash", "sh", "system", "sx", "script", "cmd"):
        lines = enumerate(magic.body.split("\n"), start=magic.at + 1)
        yield from ((at, line) for at, line in lines if not line.lstrip().startswith("#"))


_KEEP = "keep what it gave in the project (DVC), and check its digest"


def _unpinned(line: str) -> list[str]:
    """Return the packages that a command installs without a version."""
    match = _INSTALL.search(line)
    if match is None:
        return []
    words = match["words"].replace('"', "").replace("'", "").split()
    loose: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _OPTIONS_WITH_VALUE
        elif "git+" in word:
            loose += [] if "@" in word.partition("git+")[2].rpartition("/")[2] else [word.rpartition("/")[2]]
        elif re.fullmatch(r"[A-Za-z][\w.-]*(\[[\w,.-]+\])?([<>!~]=?[\w.,<>=!*]+)?", word) and not word.endswith(
            (".whl", ".gz", ".txt")
        ):
            loose.append(re.split(r"[\[<>!~]", word)[0])
    return loose


# -- clock ----------------------------------------------------------------------------------------


def _timing_names(document: Document) -> frozenset[str]:
    """Return the variables that are only ever subtracted: they time something, and steer nothing."""
    other: set[str] = set()
    timed: set[str] = set()
    for block in document.blocks:
        for node in block.nodes:
            inside = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                    (timed if inside else other).add(child.id)
    return frozenset(timed - other)


def _clock(call: Call, timing: frozenset[str]) -> Iterator[Finding]:
    name = call.name
    if name not in _CLOCKS and not (
        name in ("pandas.to_datetime", "pandas.Timestamp", "numpy.datetime64") and _is_now(call)
    ):
        return
    if name in ("time.localtime", "time.gmtime", "time.ctime") and call.node.args:
        return
    if name in ("time.strftime", "time.asctime") and len(call.node.args) > (name == "time.strftime"):
        return
    parent = call.parent
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Sub):
        return
    if isinstance(parent, ast.Assign) and all(
        isinstance(target, ast.Name) and target.id in timing for target in parent.targets
    ):
        return
    yield Finding(
        code="T401",
        message=f"{name} is another value in each run",
        remedy="make the time a parameter",
        cell=call.block.number,
        line=call.line,
    )


def _is_now(call: Call) -> bool:
    first = call.argument(0)
    return isinstance(first, ast.Constant) and first.value in ("now", "today")


# -- the user and the environment -----------------------------------------------------------------


def _asked(call: Call) -> Iterator[Finding]:
    if call.name in ("input", "raw_input"):
        message, remedy = (
            "the cell waits for somebody to type",
            "make it a parameter (a replay gives the same answer again)",
        )
    elif call.name in ("getpass.getpass", "getpass"):
        message, remedy = (
            "the cell asks for a password, which is never recorded",
            "read it from an environment variable",
        )
    else:
        return
    yield Finding(code="E602", message=message, remedy=remedy, cell=call.block.number, line=call.line)


def _environment(document: Document, calls: Calls) -> Iterator[Finding]:
    nodes = [
        (block.number, node)
        for block in document.blocks
        for node in block.nodes
        if isinstance(node, ast.Subscript) and calls.full_name(node.value) == "os.environ"
    ]
    given = {calls.text(node.slice) for _, node in nodes if isinstance(node.ctx, ast.Store)}
    for cell, node in nodes:
        name = calls.text(node.slice)
        if isinstance(node.ctx, ast.Load) and name not in given:
            yield Finding(
                code="E601",
                message=f"the environment variable {(name or '…').replace(chr(0), '…')} must be set",
                remedy="give a default: os.environ.get(NAME, …); `variables` in [tool.reprokit] names those to record",
                cell=cell,
                line=node.lineno,
            )
