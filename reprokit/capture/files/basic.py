"""What stands in for the recorder and the watch where there is neither: the *basic* tier.

Two scans tell what a cell changed in the project; wrapped functions, what libraries are told to read and write;
their command lines, what programs are told. A child that was forked says by itself what it opens. None of that sees
what a program finds without being told, so that nothing here ever calls itself complete.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reprokit.capture.files.commands import in_code, named, texts
from reprokit.capture.files.merge import Merge
from reprokit.capture.files.paths import Paths
from reprokit.capture.files.readers import Readers
from reprokit.capture.files.scan import Key
from reprokit.capture.files.uses import Use
from reprokit.capture.files.watch import Seen
from reprokit.capture.probe import Context

__all__ = ["Basic"]

_SHELL_LINE = re.compile(r"^\s*(?:[\w, ]+=\s*)?(?:!!?|%sx |%system )(.+)", re.MULTILINE)
_SHELL_CELLS = frozenset(("%%bash", "%%sh", "%%!", "%%sx", "%%system"))
_OTHER_CELLS = frozenset(("%%script", "%%perl", "%%ruby", "%%python", "%%python3", "%%pypy", "%%javascript"))


class Basic:
    """Sees what it can of one cell after the other.

    Args:
        paths: tells data from noise.
        hear: told of what is about to happen to a file, as by ``Audit``.
        files: returns the state of all files of the project; None when they are too many.
        context: what a probe may use.
    """

    def __init__(
        self,
        paths: Paths,
        hear: Callable[[str, str], None],
        files: Callable[[], dict[str, Key] | None],
        context: Context,
    ) -> None:
        self._paths = paths
        self._hear = hear
        self._files = files
        self._pid = os.getpid()
        self._namespace = context.namespace
        self._readers = Readers(hear, context.later)
        self._before: dict[str, Key] | None = None
        self._source = self._fresh = ""  # of the cell; "" again once its lines for other programs were looked at
        self._heard = ""  # the file in which forked children say what they open
        self._read = 0
        self._began = False

    def begin(self, folder: Path) -> None:
        """Make room for what children say, in the background."""
        folder.mkdir(parents=True, exist_ok=True)
        self._heard = str(folder / "heard")

    def expects(self, source: str) -> None:
        """Tell the source of the cell that is about to run."""
        self._source = self._fresh = source

    def before_cell(self) -> None:
        """Look at the project as it is; what children did since the last cell is nobody's."""
        if not self._began:  # not earlier: the last that was wrapped is the first to be put back
            self._began = True
            self._readers.install()
        self._said()
        self._before = self._files()
        self._readers.before_cell(self._source, self._namespace())

    def started(self, words: Sequence[str], folder: str) -> None:
        """Take in that a program is about to be started, or a child forked, with the arguments it is told."""
        if os.getpid() != self._pid:
            for name in named(words, folder) if words else ():
                self.in_child(name.path, name.use)
            return
        if words and os.path.basename(words[0]) == "git":
            return
        source, self._fresh = self._fresh, ""
        here = os.getcwd()
        found = []
        for kind, text in _scripts(source):
            found += named(["sh", "-c", text], here) if kind == "shell" else in_code(text, here)
        if not found and len(words) == 1:  # it is told by other means what to do
            for text in texts(source):
                found += [*named(["sh", "-c", text], here), *in_code(text, here)] if " " in text else []
        for name in (*found, *(named(words, folder) if words else ())):
            self._hear(name.path, name.use)

    def in_child(self, given: str | bytes, access: str) -> None:
        """Say, from a forked child, what it is about to do with a file."""
        path = self._paths.absolute(given)
        if not self._heard or not self._paths.is_data(path):
            return
        if access != "output" and not os.path.lexists(path):
            if access not in ("write", "update", "append", "target"):
                return
            access = "write"
        line = b"%s\0%s\0" % (access.encode(), os.fsencode(path))
        number = os.open(self._heard, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(number, line)
        finally:
            os.close(number)

    def after_cell(self, merge: Merge) -> None:
        """Add what this saw of the cell."""
        self._compare(merge)
        seen: dict[str, Seen] = {}
        for access, path in self._said():
            use = merge.uses.get(path)
            changed = use is not None and use.written
            _note(seen.setdefault(path, Seen()), access, changed=changed, made=self._is_made(path, use))
        for path, what in seen.items():
            merge.add_seen(path, what)
        self._readers.after_cell(self._source, self._namespace())

    def _is_made(self, path: str, use: Use | None) -> bool:
        """Return whether the cell itself had made a file when a child used it, as far as can be told."""
        # A scan follows no links: what lies behind one of a folder is in none.
        scanned = self._before is not None and self._paths.inside(self._paths.real(path))
        fresh = scanned and path not in (self._before or ())
        return fresh or (use is not None and (use.told == "output" or (use.source == "python" and use.written)))

    def _compare(self, merge: Merge) -> None:
        """Add what differs between the scans before and after the cell."""
        before, after = self._before, self._files()
        if before is None or after is None:
            return
        fresh = {key[:4]: path for path, key in after.items() if path not in before}
        for path in before.keys() - after.keys() if fresh else ():
            target = fresh.get(before[path][:4])
            if target is not None and self._paths.is_data(path):
                merge.add_seen(path, Seen(written=True, moved_to=target))
        for path, key in after.items():
            known = before.get(path)
            if (known is None or known[:4] != key[:4]) and self._paths.is_data(path):
                merge.add_changed(path, known)

    def stop(self) -> None:
        """Put back what was wrapped."""
        self._readers.remove()

    def _said(self) -> Iterator[tuple[str, str]]:
        """Return what children said since the last call."""
        try:
            if os.stat(self._heard).st_size <= self._read:
                return iter(())
            with open(self._heard, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return iter(())
        self._read += len(data)
        parts = [os.fsdecode(part) for part in data.split(b"\0")[:-1]]
        return iter(list(zip(parts[::2], parts[1::2], strict=False)))


def _note(seen: Seen, access: str, *, changed: bool, made: bool) -> None:
    """Add to what is seen of a file in the order in which it happened."""
    uses = access in ("read", "update", "append", "source", "used") or (access == "told" and not changed)
    seen.used = seen.used or (uses and not seen.written and not made)
    if made or access in ("write", "create", "target", "output"):
        seen.made = seen.made or not seen.used
    if not uses or made or access in ("update", "append", "source"):
        seen.written = True


def _scripts(source: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a cell that are for other programs: scripts of a shell, and those of others."""
    head, _, rest = source.lstrip().partition("\n")
    word = head.split(" ", 1)[0].rstrip()
    if word in _SHELL_CELLS:
        yield "shell", rest
    elif word in _OTHER_CELLS:
        yield "shell" if re.search(r"\b(?:ba|da|z|k)?sh\b", head.removeprefix(word)) else "code", rest
    elif word.startswith("%%"):  # such as %%time
        yield from _scripts(rest)
    else:
        for match in _SHELL_LINE.finditer(source):
            yield "shell", match[1]
