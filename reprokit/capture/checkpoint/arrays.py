"""Arrays of numpy in a checkpoint: without a copy of their bytes, and two that share memory share it again.

numpy is found in ``sys.modules``: a checkpoint with arrays is only made, and only read, where it is there.
"""

from __future__ import annotations

import sys
from pickle import PickleBuffer
from typing import Any

__all__ = ["array", "reduced", "view"]


def reduced(value: Any) -> Any:
    """Return how an array is made again, as ``__reduce__`` would."""
    numpy = sys.modules["numpy"]
    if value.dtype.hasobject:
        owner = _owner(value, numpy)
        return value.__reduce_ex__(4) if owner is None else (view, _seen_from(value, owner))
    owner = _owner(value, numpy)
    if owner is not None:
        return view, _seen_from(value, owner)
    order = "C" if value.flags.c_contiguous else "F"
    whole = value if value.flags.c_contiguous or value.flags.f_contiguous else value.copy()
    flat = (whole if whole.flags.c_contiguous else whole.T).reshape(-1).view(numpy.uint8)
    return array, (PickleBuffer(flat), value.dtype, value.shape, order, value.flags.writeable)


def array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: str, writeable: bool) -> Any:
    """Return an array that owns its bytes."""
    numpy = sys.modules["numpy"]
    made = numpy.frombuffer(buffer, numpy.uint8).view(dtype).reshape(shape, order=order).copy(order=order)
    made.flags.writeable = writeable
    return made


def view(owner: Any, dtype: Any, shape: tuple[int, ...], offset: int, strides: tuple[int, ...], writeable: bool) -> Any:
    """Return an array on the memory of another one."""
    numpy, fixed = sys.modules["numpy"], not owner.flags.writeable
    owner.flags.writeable = True  # one that was fixed after the other was made from it
    flat = (owner if owner.flags.c_contiguous else owner.T).reshape(-1)
    if dtype.hasobject:
        start = flat[offset // dtype.itemsize :]
        made = numpy.lib.stride_tricks.as_strided(start, shape, strides)
    else:
        made = numpy.ndarray(shape, dtype, flat.view(numpy.uint8), offset, strides)
    if made.flags.writeable != writeable:
        made.flags.writeable = writeable
    owner.flags.writeable = not fixed
    return made


def _owner(value: Any, numpy: Any) -> Any:
    """Return the array whose memory an array is a part of; None for its own, or that of something else."""
    found = value.base
    while found is not None and type(found) is not numpy.ndarray:
        found = getattr(found, "base", None) if type(found).__module__.startswith("numpy") else None
    while found is not None and type(found.base) is numpy.ndarray:
        found = found.base
    if found is None or found.dtype.hasobject != value.dtype.hasobject:
        return None
    return found if found.flags.c_contiguous or found.flags.f_contiguous else None


def _seen_from(value: Any, owner: Any) -> tuple[Any, ...]:
    start, first = (one.__array_interface__["data"][0] for one in (owner, value))
    return owner, value.dtype, value.shape, first - start, value.strides, value.flags.writeable
