"""Arrays in .npy and HDF5 files compared value by value, bit for bit unless a tolerance is given.

Nothing that Python would have to build is read: no pickles in .npy, and of HDF5 no link to another file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from reprokit.replay.typed.outcome import BUDGET, How, Outcome, TooLarge, same
from reprokit.replay.typed.shown import clip, limited

__all__ = ["compare_hdf5", "compare_npy"]

_DEPTH = 100
_NAMED = 8


def compare_npy(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two .npy files."""
    ours, theirs = _read_npy(left), _read_npy(right)
    before, after = _brief(ours), _brief(theirs)
    detail = _apart(ours, theirs, how)
    if detail is None:
        return Outcome(rules=("array layout",) if _bits(ours) == _bits(theirs) else (how.tolerance(),))
    return Outcome(before=before, after=after, detail=detail)


def _read_npy(content: bytes) -> Any:
    import numpy
    from numpy.lib import format as numpy_format

    npy: Any = numpy_format

    file = io.BytesIO(content)
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format {version[0]}.{version[1]} is not known")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read here")
    values = numpy.frombuffer(content, dtype, offset=file.tell())  # a header that promises more cannot make it allocate
    return values.reshape(shape, order="F" if fortran else "C")


def _bits(array: Any) -> tuple[Any, ...]:
    return array.shape, str(array.dtype.newbyteorder("=")), array.astype(array.dtype.newbyteorder("<")).tobytes()


def _brief(array: Any) -> str:
    return f"{array.dtype}, shape {_shape(array.shape)}"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape) or "one value"


def _apart(left: Any, right: Any, how: How) -> str | None:
    """Return how two arrays differ; None when they are the same."""
    if left.dtype.newbyteorder("=") != right.dtype.newbyteorder("="):
        return f"type {left.dtype} → {right.dtype}"
    if left.shape != right.shape:
        return f"shape {_shape(left.shape)} → {_shape(right.shape)}"
    if _bits(left) == _bits(right) or _close(left, right, how):
        return None
    return _told(left, right)


def _close(left: Any, right: Any, how: How) -> bool:
    import numpy

    if not how.comparison.tolerant or left.dtype.kind not in "fc":
        return False
    with numpy.errstate(all="ignore"):
        apart = numpy.abs(left - right)
        limit = how.comparison.atol + how.comparison.rtol * numpy.maximum(numpy.abs(left), numpy.abs(right))
    alike = (left == right) | (numpy.isnan(left) & numpy.isnan(right))
    finite = numpy.isfinite(left) & numpy.isfinite(right)
    return bool((alike | (finite & (apart <= limit))).all())


def _told(left: Any, right: Any) -> str:
    """Return how many values of two arrays of one shape differ, where most, and their figures."""
    import numpy

    item = left.dtype.itemsize
    bits = [numpy.ascontiguousarray(one).reshape(-1).view(numpy.uint8).reshape(-1, item) for one in (left, right)]
    unlike = (bits[0] != bits[1]).any(axis=1)
    places = numpy.flatnonzero(unlike)
    lines = [f"{len(places):,} of {left.size:,} values differ"]
    if left.dtype.kind in "fiu":
        ours, theirs = left.reshape(-1).astype(float), right.reshape(-1).astype(float)
        with numpy.errstate(all="ignore"):
            apart = numpy.nan_to_num(numpy.abs(ours - theirs)[places], nan=numpy.inf)
            figures = [
                f"{name} {_arrow(getattr(numpy, name)(ours), getattr(numpy, name)(theirs))}"
                for name in ("min", "mean", "max")
            ]
        lines += [f"largest difference {float(apart.max()):.6g}", ", ".join(figures)]
        places = places[numpy.argsort(-apart, kind="stable")]
    shown = (_value_line(left, right, int(at)) for at in places[:_NAMED])
    return "\n".join([*lines, *limited(shown, len(places), _NAMED)])


def _arrow(before: Any, after: Any) -> str:
    one, other = f"{before:.6g}", f"{after:.6g}"
    return one if one == other else f"{one} → {other}"


def _value_line(left: Any, right: Any, at: int) -> str:
    import numpy

    where = ", ".join(str(int(part)) for part in numpy.unravel_index(at, left.shape)) if left.shape else ""
    return f"[{where}]: {clip(str(left.reshape(-1)[at]))} → {clip(str(right.reshape(-1)[at]))}"


# --- HDF5 --------------------------------------------------------------------------------------------


def compare_hdf5(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two HDF5 files: groups, data sets and attributes by name."""
    ours, theirs = _read_hdf5(left), _read_hdf5(right)
    lines, close = [], False
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            lines.append(f"{name}: {'added' if name in theirs else 'removed'}")
            continue
        apart, tolerated = _entries_apart(ours[name], theirs[name], how)
        close = close or tolerated
        lines += [] if apart is None else [f"{name}: " + apart.replace("\n", "\n  ")]
    if not lines:
        return same("hdf5 layout", how.tolerance()) if close else same("hdf5 layout")
    before, after = (f"{len(side):,} entries" for side in (ours, theirs))
    return Outcome(before=before, after=after, detail="\n".join(limited(lines, len(lines), _NAMED)))


def _entries_apart(left: Any, right: Any, how: How) -> tuple[str | None, bool]:
    """Return how two entries differ, None when they are the same, and whether it took the tolerance."""
    import numpy

    if not (isinstance(left, numpy.ndarray) and isinstance(right, numpy.ndarray)):
        alike = type(left) is type(right) and left == right
        return (None if alike else f"{clip(str(left))} → {clip(str(right))}"), False
    if left.dtype.hasobject or right.dtype.hasobject:  # texts of any length
        ours, theirs = ((one.shape and one.tolist()) or [repr(one)] for one in (left, right))
        alike = (left.shape, repr(ours)) == (right.shape, repr(theirs))
        return (None if alike else f"{clip(repr(ours))} → {clip(repr(theirs))}"), False
    apart = _apart(left, right, how)
    return apart, apart is None and _bits(left) != _bits(right)


def _read_hdf5(content: bytes) -> dict[str, Any]:
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        left = [2 * BUDGET]
        return dict(_walk(file, "", left, 0))


def _walk(group: Any, path: str, left: list[int], depth: int) -> Iterator[tuple[str, Any]]:
    """Yield what is in a group by its path; ``left`` counts down the bytes that may still be read."""
    import h5py

    if depth > _DEPTH:
        raise TooLarge("the file")
    yield from _attributes(group, path, left)
    for name in group:
        link, where = group.get(name, getlink=True), f"{path}/{name}"
        if not isinstance(link, h5py.HardLink):  # never followed: it may lead to any file
            yield where, f"link to {getattr(link, 'filename', '')}:{link.path}"
            continue
        entry = group[name]
        if isinstance(entry, h5py.Group):
            yield where, "group"
            yield from _walk(entry, where, left, depth + 1)
        elif isinstance(entry, h5py.Dataset):
            yield where, _dataset(entry, left)
            yield from _attributes(entry, where, left)
        else:
            yield where, "type"


def _dataset(entry: Any, left: list[int]) -> Any:
    import numpy

    if entry.external or entry.is_virtual:
        raise ValueError(f"{entry.name} keeps its values in other files")
    if entry.shape is None:
        return "empty"
    _spend(left, entry.size * entry.dtype.itemsize)
    return numpy.asarray(entry[()])


def _attributes(entry: Any, path: str, left: list[int]) -> Iterator[tuple[str, Any]]:
    import numpy

    for name in entry.attrs:
        _spend(left, 64)
        yield f"{path or '/'}@{name}", numpy.asarray(entry.attrs[name])


def _spend(left: list[int], amount: int) -> None:
    left[0] -= amount
    if left[0] < 0:
        raise TooLarge("the file")
