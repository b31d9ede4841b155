"""What a pickle says to build, read from its opcodes as data.

A call or a class is kept as its name and its arguments; nothing of it is imported, called or made. Knows the
opcodes of pickle and how joblib puts arrays behind them; does not know what two descriptions are compared for.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import pickletools
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from reprokit.replay.typed.outcome import BUDGET, TooLarge

__all__ = ["Form", "Global", "Node", "Raw", "as_dict", "dtype_of", "is_tuple", "read_pickle", "shape_of"]

_OPCODES = 5 * 10**6


class Global(NamedTuple):
    """The name of a class or a function."""

    name: str


class Node:
    """Something that is built: of a kind, from parts, in order."""

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, parts: list[Any]) -> None:
        self.kind = kind
        self.parts = parts


class Raw(NamedTuple):
    """The bytes of one of joblib's arrays, which follow its description in the stream."""

    content: bytes


def read_pickle(content: bytes) -> Any:
    """Return what a pickle or a joblib file would build.

    Raises:
        ValueError: it is no pickle, uses what cannot be followed, or is too large.
    """
    file = io.BytesIO(_unfolded(content))
    reader = _Reader(file)
    built = reader.read()
    if rest := file.read():  # several objects dumped one after the other
        return Node("file", [built, rest])
    return built


def _unfolded(content: bytes) -> bytes:
    """Return the stream inside a file that joblib compressed.

    Raises:
        TooLarge: it is larger than is safe.
    """
    openers: dict[bytes, Callable[[Any], Any]] = {
        b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ": lzma.LZMAFile,
        b"\x5d\x00": lzma.LZMAFile,
    }
    opener = next((opener for magic, opener in openers.items() if content.startswith(magic)), None)
    if opener is not None:
        with opener(io.BytesIO(content)) as file:
            found: bytes = file.read(BUDGET + 1)
    elif content[:1] == b"\x78":
        found = zlib.decompressobj().decompress(content, BUDGET + 1)
    else:
        return content
    if len(found) > BUDGET:
        raise TooLarge()
    return found


_MARK = object()
_ATOMS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_SET": "set", "EMPTY_TUPLE": "tuple"}
_GATHERED = {
    "LIST": "list",
    "DICT": "dict",
    "TUPLE": "tuple",
    "FROZENSET": "frozenset",
    "OBJ": "instance",
    "INST": "instance",
}
_FEW = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_BUILT = {"REDUCE": ("call", 2), "NEWOBJ": ("new", 2), "NEWOBJ_EX": ("new with keywords", 3)}
_ADDED = {"APPEND": ("list", 1), "SETITEM": ("dict", 2)}
_ADDED_ALL = {"APPENDS": ("list", 1), "SETITEMS": ("dict", 2), "ADDITEMS": ("set", 1)}


class _Reader:
    """Follows a pickle's opcodes, with names where the unpickler would have objects."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """Return what the stream would build.

        Raises:
            ValueError: it is no pickle, or uses what cannot be followed.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._file)):
            if count > _OPCODES:
                raise TooLarge("the pickle")
            if opcode.name == "STOP":
                return self._stack.pop()
            try:
                self._step(opcode.name, argument)
            except (IndexError, KeyError) as error:
                raise ValueError("it is no whole pickle") from error
        raise ValueError("it is no whole pickle")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _ATOMS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(Node(_EMPTY[name], []))
        elif name in _GATHERED:
            parts = self._since_mark()
            stack.append(Node(_GATHERED[name], [_named(argument), *parts] if name == "INST" else parts))
        elif name in _FEW:
            stack.append(Node("tuple", self._popped(_FEW[name])))
        elif name in _BUILT:
            kind, count = _BUILT[name]
            stack.append(_built(kind, self._popped(count)))
        elif name in _ADDED:
            self._add(self._popped(_ADDED[name][1]), *_ADDED[name])
        elif name in _ADDED_ALL:
            self._add(self._since_mark(), *_ADDED_ALL[name])
        else:
            self._rarer(name, argument)

    def _rarer(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(_named(argument))
        elif name == "STACK_GLOBAL":
            stack.append(_named(" ".join(map(str, self._popped(2)))))
        elif name == "BYTEARRAY8":
            stack.append(Node("bytearray", [bytes(argument)]))
        elif name == "BUILD":
            (state,) = self._popped(1)
            stack[-1].parts.append(Node("state", [state]))
            self._joblib_array(stack[-1], state)
        elif name in ("PERSID", "BINPERSID"):
            stack.append(Node("persistent", [argument if name == "PERSID" else stack.pop()]))
        else:  # extension codes and buffers out of band: what they stand for is not in the file
            raise ValueError(f"it uses {name}")

    def _popped(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError
        parts = self._stack[-count:]
        del self._stack[-count:]
        return parts

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError
        parts = self._stack[at + 1 :]
        del self._stack[at:]
        return parts

    def _add(self, parts: list[Any], kind: str, width: int) -> None:
        """Put items into what is on top of the stack; into an object, each with how that is done."""
        owner = self._stack[-1]
        if not isinstance(owner, Node) or len(parts) % width:
            raise ValueError("it is no whole pickle")
        if owner.kind == kind:
            owner.parts += parts
        else:
            owner.parts += [Node(f"{kind} item", parts[at : at + width]) for at in range(0, len(parts), width)]

    def _joblib_array(self, owner: Any, state: Any) -> None:
        """Read the bytes that joblib puts behind the description of an array."""
        if not (isinstance(owner, Node) and owner.parts[0] == Global("joblib.numpy_pickle NumpyArrayWrapper")):
            return
        fields = as_dict(state)
        form = dtype_of(fields["dtype"])
        if form is None:
            raise ValueError("it holds arrays of a type that is not known")
        if form.kind == "O":
            owner.parts.append(_Reader(self._file).read())
            return
        if fields.get("numpy_array_alignment_bytes") is not None:
            self._file.read(self._file.read(1)[0])
        size = math.prod(shape_of(fields["shape"])) * form.size
        content = self._file.read(size)
        if len(content) != size:
            raise ValueError("it is no whole pickle")
        owner.parts.append(Raw(content))


# The same classes and functions under two names: of numpy before and after 2.0, of Python 2 in old protocols.
_RENAMED = {"numpy._core": "numpy.core", "__builtin__": "builtins", "copy_reg": "copyreg"}


def _named(name: str) -> Global:
    for new, old in _RENAMED.items():
        if name.startswith((f"{new}.", f"{new} ")):
            return Global(old + name[len(new) :])
    return Global(name)


def _built(kind: str, parts: list[Any]) -> Any:
    """Return what a call builds: bytes where an old protocol, which had none, wrote them as text to be encoded."""
    if parts[0] == Global("_codecs encode") and is_tuple(parts[1], 2) and parts[1].parts[1] == "latin1":
        content = parts[1].parts[0]
        if isinstance(content, str):
            return content.encode("latin-1")
    return Node(kind, parts)


def as_dict(node: Any) -> dict[str, Any]:
    """Return the described dictionary, by the text of its keys."""
    if not (isinstance(node, Node) and node.kind == "dict"):
        raise ValueError("it is no whole pickle")
    return {str(key): value for key, value in zip(node.parts[::2], node.parts[1::2], strict=True)}


def shape_of(node: Any) -> tuple[int, ...]:
    """Return the described shape of an array."""
    if not (isinstance(node, Node) and all(isinstance(part, int) and part >= 0 for part in node.parts)):
        raise ValueError("it is no whole pickle")
    return tuple(node.parts)


class Form(NamedTuple):
    """A numpy dtype: its kind ("f"), its size in bytes, and whether its bytes are the other way round than here."""

    kind: str
    size: int
    swapped: bool


def dtype_of(node: Any) -> Form | None:
    """Return the form that a pickled dtype describes; None of one with fields or of another kind."""
    if not (isinstance(node, Node) and node.parts[0] == Global("numpy dtype") and isinstance(node.parts[1], Node)):
        return None
    name = str(node.parts[1].parts[0])
    kind, digits = name[:1], name[1:]
    order = "|"
    if len(node.parts) > 2 and isinstance(state := node.parts[2].parts[0], Node):
        order = str(state.parts[1])
        if state.parts[3] is not None:  # names of fields, or an array inside
            return None
    if kind == "O":
        return Form(kind, 0, False)
    if kind not in "biufcmMSUV" or not digits.isdecimal():
        return None
    size = int(digits) * (4 if kind == "U" else 1)
    return Form(kind, size, order == (">" if sys.byteorder == "little" else "<"))


def is_tuple(node: Any, length: int) -> bool:
    """Return whether this describes a tuple of so many parts."""
    return isinstance(node, Node) and node.kind == "tuple" and len(node.parts) == length
