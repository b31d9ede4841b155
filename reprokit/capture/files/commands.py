"""What a command line, or a script of a shell, names: the files that are there and that it may read.

Used where nobody sees what child processes open. A name is no proof: what a program only looks at (``ls``, ``rm``)
is left out, and so is where its output goes. Nothing is run, and only names of files that exist are told.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

__all__ = ["Named", "below", "files", "in_code", "named", "texts"]

_LONG = 20_000  # characters of a script: beyond it, it is not read
_MANY = 1_000  # files of one folder or pattern
_DEEP = 3  # a script that starts a script
_MAGIC = re.compile(r"[*?\[]")
_QUOTED = re.compile(r"""([fF]?)(["'])((?:(?!\2)[^\\\n]){1,1024})\2""")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n.*?^\s*\2$", re.DOTALL | re.MULTILINE)  # a text that stands here
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_FIELD = re.compile(r"\{[^{}]*\}|%[0-9.]*[sd]")
_OPERATOR = frozenset("();<>|&\n")
_BEFORE = frozenset(
    ("do", "then", "else", "while", "until", "if", "!", "{", "time", "env", "sudo", "nohup", "exec", "nice", "-i")
)
_LOOKING = frozenset(
    (
        "ls", "stat", "du", "df", "test", "[", "[[", "touch", "chmod", "chown", "chgrp", "mkdir", "rmdir", "rm", "echo",
        "printf", "pwd", "which", "basename", "dirname", "realpath", "readlink", "git", "export", "kill", "sleep",
        "true", "false", "exit", "tree", "truncate", "mkfifo", "mktemp", "pip", "conda", "uv", "unlink", "shred",
    )
)  # fmt: skip
_READING = frozenset(
    (
        "cat", "tac", "nl", "wc", "head", "tail", "cut", "uniq", "paste", "join", "tr", "od", "xxd", "hexdump",
        "strings", "grep", "egrep", "fgrep", "rg", "awk", "gawk", "mawk", "diff", "cmp", "comm", "md5sum", "sha1sum",
        "sha256sum", "cksum", "zcat", "less", "more", "file", "jq", "cp", "scp", "rsync", "tar", "unzip", "dd",
    )
)  # fmt: skip
_COPYING = frozenset(("cp", "mv", "ln", "install", "rsync", "scp"))  # their last word is where it goes
_CHANGING = frozenset(("mv", "ln", "sed", "perl", "gzip", "gunzip", "bzip2", "xz", "patch", "sort", "ed", "dos2unix"))
_SURE = _READING | _CHANGING
_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "source", "."))
_OUTPUT = frozenset(("-o", "-O", "--output", "--output-document", "--outfile"))
_WHOLE = re.compile(r"-[a-zA-Z]*[rRa][a-zA-Z]*|--recursive|--archive")


@dataclass(frozen=True, slots=True)
class Named:
    """A file that a command names.

    ``use`` is "used" (its bytes are used, whatever becomes of it then), "told" (they may be) or "output" (what is there
    goes, and something is put there).
    """

    path: str
    use: str


def named(command: Sequence[str], folder: str) -> list[Named]:
    """Return the files that a program is told.

    Args:
        command: the program and its arguments.
        folder: where it is started.
    """
    words = [os.fsdecode(word) for word in command]
    made: set[str] = set()
    found: dict[str, Named] = {}
    for name in _Line(folder).program(words):
        path = os.path.normpath(name.path)
        if name.use == "output":
            made.add(path)
        if path not in found and (name.use == "output" or path not in made):
            found[path] = Named(path, name.use)
    return list(found.values())


def texts(source: str) -> Iterator[str]:
    """Yield the texts that stand in a program's code."""
    return (match[3] for match in _QUOTED.finditer(source[:_LONG]))


def in_code(text: str, folder: str) -> list[Named]:
    """Return the files that texts in a program's code name; what is put into them later stands for anything."""
    found: dict[Named, None] = {}
    for match in _QUOTED.finditer(text[:_LONG]):
        word = _FIELD.sub("*", match[3]) if match[1] or "%" in match[3] else match[3]
        if word.strip("*./~"):
            found.update(dict.fromkeys(Named(path, "told") for path in files(word, folder)))
    return list(found)


class _Line:
    """Follows the simple commands of a script."""

    def __init__(self, folder: str, depth: int = 0) -> None:
        self._folder = folder
        self._depth = depth
        self._piped = ""  # all of the script, which may take names from a pipe
        self._variables: dict[str, str] = {}

    def script(self, text: str) -> Iterator[Named]:
        """Yield what a shell's script names."""
        if len(text) > _LONG or self._depth > _DEEP:
            return
        words: list[str] = []
        text = _HERE.sub(r"\3\n", text).replace("$(pwd)", self._folder)
        self._piped = text
        tokens = iter([*_tokens(text), "\n"])
        for token in tokens:
            if token[0] not in _OPERATOR:
                words.append(token)
            elif token in ("<", ">", ">>", ">|", "&>", "&>>"):
                target = next(tokens, "\n")
                if token == "<" or token.endswith(">>"):
                    yield from self._told([target], "used")
                elif target[0] not in _OPERATOR and "$" not in target:
                    yield Named(self._at(target), "output")
            elif token == "<<<" or not token.startswith("<<"):
                yield from self.program(words)
                words = []

    def program(self, words: Sequence[str]) -> Iterator[Named]:
        """Yield what a program is told."""
        words = [_VARIABLE.sub(self._value, word) for word in words]
        while words and (words[0] in _BEFORE or _SETTING.fullmatch(words[0])):
            name, _, value = words.pop(0).partition("=")
            self._variables[name] = value
        if not words:
            return
        name, rest = os.path.basename(words[0]), words[1:]
        if name == "xargs":
            yield from self.program([word for word in rest if not word.startswith("-")])
        elif name == "cd":
            self._folder = os.path.join(self._folder, os.path.expanduser(rest[0] if rest else "~"))
        elif name in _SHELLS or name == "make":
            yield from self._shell(rest)
        elif name == "find":
            yield from self._found(rest)
        elif name not in _LOOKING:
            yield from self._used(name, rest)
        if not os.path.isabs(words[0]):  # what is no program stands here too: words behind `<(…)`
            yield from self._told(words[:1], "told")

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        return self._folder if name == "PWD" else self._variables.get(name, os.environ.get(name, match[0]))

    def _shell(self, words: list[str]) -> Iterator[Named]:
        if "-c" in words[:-1]:
            yield from _Line(self._folder, self._depth + 1).script(words[words.index("-c") + 1])
            return
        for word in words:
            for path in files(word, self._folder):
                yield Named(path, "used")
                yield from _Line(self._folder, self._depth + 1).script(_text(path))

    def _found(self, words: list[str]) -> Iterator[Named]:
        """Yield what is below the folders that ``find`` looks through, when something is done with it."""
        if "-exec" not in words and "-execdir" not in words and "xargs" not in self._piped:
            return
        pattern = words[words.index("-name") + 1] if "-name" in words[:-1] else "*"
        for path in below(words[:1], self._folder):
            if fnmatch(os.path.basename(path), pattern):
                yield Named(path, "told")

    def _used(self, name: str, words: list[str]) -> Iterator[Named]:
        options = [word for word in words if word.startswith("-")]
        told = list(self._arguments(name, words))
        if name in _COPYING and len(told) > 1:
            told.pop()
        use = "used" if name in _SURE or (name == "tee" and "-a" in options) else "told"
        if name == "tee" and use == "told":
            yield from (Named(self._at(word), "output") for word in told)
            return
        if _takes_folders(name, options, words):
            yield from (Named(path, use) for path in below(told, self._folder))
        yield from self._told(told, use)

    def _arguments(self, name: str, words: Sequence[str]) -> Iterator[str]:
        """Yield the words that may name what a program reads."""
        skip = False
        for word in words:
            if skip or word in _OUTPUT:
                skip = not skip and not name.endswith("grep")
            elif not word.startswith(("of=", "--output=")):
                if "=" in word and not os.path.lexists(self._at(word)):
                    yield word.partition("=")[2]
                elif not word.startswith("-"):
                    yield word.removeprefix("file://")

    def _told(self, words: Iterable[str], use: str) -> Iterator[Named]:
        for word in words:
            if any(character in word for character in "'\" \n") and not os.path.lexists(self._at(word)):
                yield from in_code(word, self._folder)
            else:
                yield from (Named(path, use) for path in files(word, self._folder))

    def _at(self, word: str) -> str:
        return os.path.join(self._folder, os.path.expanduser(word))


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return [token for token in lexer if token]
    except ValueError:  # a quote without its end
        return re.findall(r"[();<>|&\n]+|[^\s();<>|&'\"]+", text)


def _takes_folders(name: str, options: Sequence[str], words: Sequence[str]) -> bool:
    if name in ("mv", "rsync", "rg"):
        return True
    if name == "tar":
        return "c" in (words[0] if words else "") or "--create" in options
    return name in ("cp", "grep", "egrep", "fgrep", "diff", "zip", "scp") and any(map(_WHOLE.fullmatch, options))


def files(word: str, folder: str) -> Iterator[str]:
    """Yield the files that a word names, those of a pattern one by one."""
    if not 0 < len(word) < 1024 or "\0" in word or "://" in word:
        return
    path = os.path.join(folder, os.path.expanduser(word))
    if os.path.isfile(path):
        yield path
    elif _MAGIC.search(word):
        for _, match in zip(range(_MANY), glob.iglob(path, recursive=True), strict=False):
            if os.path.isfile(match):
                yield match


def below(words: Iterable[str], folder: str) -> Iterator[str]:
    """Yield the files in the folders among the words."""
    for word in words:
        path = os.path.join(folder, os.path.expanduser(word))
        if os.path.isdir(path) and os.path.realpath(path) != "/":
            inside = (os.path.join(place, name) for place, _, names in os.walk(path) for name in names)
            yield from (file for _, file in zip(range(_MANY), inside, strict=False))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LONG)
    except OSError:
        return ""
