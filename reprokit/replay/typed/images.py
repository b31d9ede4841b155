"""Pictures compared by their pixels, and how alike two are that differ.

Pixels need Pillow, and the likeness numpy; without Pillow a PNG is compared by its chunks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reprokit.replay.typed.outcome import How, Outcome, TooLarge, same

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["compare_jpeg", "compare_pdf", "compare_png", "difference_picture", "ssim"]

_PIXELS = 40 * 10**6
_FOR_SSIM = 4 * 10**6  # pixels; a larger picture is made smaller first
# What a writer says of itself and of when it wrote; any other text in a picture may be a result.
_SIGNED = (b"Software", b"Creation Time", b"CreationDate", b"date:create", b"date:modify", b"date:timestamp")
_EXIF_FOLDER = 0x8769
_EXIF_SIGNED = (0x0131, 0x0132, _EXIF_FOLDER, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012)  # software, dates, their zones
_WINDOW = 7


def compare_png(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two PNG pictures; those with the same chunks but for dates and versions need no library."""
    ours, theirs = _drawn(left), _drawn(right)
    if ours is None or theirs is None:
        raise ValueError("it is no whole PNG")
    if ours == theirs:
        return same("png metadata")
    return _compare_pixels(left, right, "PNG")


def compare_jpeg(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two JPEG pictures."""
    return _compare_pixels(left, right, "JPEG")


def _chunks(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the (type, content) chunks of a PNG, or None when it is not a whole one."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks if at == len(data) else None


def _drawn(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """Return all that makes the picture: every chunk but dates and versions, the pixel stream joined."""
    if (chunks := _chunks(data)) is None:
        return None
    kept = [chunk for chunk in chunks if chunk[0] not in (b"tIME", b"IDAT") and not _is_signature(*chunk)]
    return kept, b"".join(content for kind, content in chunks if kind == b"IDAT")


def _is_signature(kind: bytes, content: bytes) -> bool:
    return kind in (b"tEXt", b"zTXt", b"iTXt") and content.partition(b"\0")[0] in _SIGNED


def _compare_pixels(left: bytes, right: bytes, kind: str) -> Outcome:
    ours, theirs = _opened(left, kind), _opened(right, kind)
    before, after = (_brief(image, len(data)) for image, data in ((ours, left), (theirs, right)))
    if (ours.mode, ours.size) != (theirs.mode, theirs.size):
        detail = "" if ours.size != theirs.size else f"{ours.mode} → {theirs.mode}"
        return Outcome(before=before, after=after, detail=detail)
    if _pixels(ours) != _pixels(theirs):
        return Outcome(before=before, after=after, detail=_likeness(ours, theirs))
    if _notes(ours) != _notes(theirs):
        return Outcome(before=before, after=after, detail="the same pixels; what is written in it changed")
    return same("pixels")


def _opened(data: bytes, kind: str) -> Image:
    from PIL import Image

    image: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
    if image.width * image.height > _PIXELS:
        raise TooLarge("the picture")
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError("it is animated")
    image.load()
    return image


def _pixels(image: Image) -> tuple[bytes, Any, Any]:
    """Return what is seen: the pixels, the colours that they index, and which of them is see-through."""
    return image.tobytes(), image.getpalette(), image.info.get("transparency")


def _notes(image: Image) -> tuple[dict[str, Any], dict[int, Any]]:
    """Return what is written in a picture, without who wrote it and when."""
    texts: dict[str, Any] = dict(getattr(image, "text", {}))
    notes = {key: str(value) for key, value in texts.items() if key.encode("latin-1", "replace") not in _SIGNED}
    notes |= {key: str(image.info[key]) for key in ("comment",) if key in image.info}
    exif = image.getexif()
    tags = {**exif, **exif.get_ifd(_EXIF_FOLDER)}
    return notes, {tag: str(value) for tag, value in tags.items() if tag not in _EXIF_SIGNED}


def _brief(image: Image, size: int) -> str:
    return f"{image.width}×{image.height} pixels, {size:,} bytes"


def _likeness(left: Image, right: Image) -> str:
    """Return how many pixels of two pictures of one size differ, by how much at most, and their SSIM."""
    try:
        import numpy
    except ImportError:
        return ""
    ours, theirs = (numpy.asarray(image.convert("RGBA"), dtype=numpy.int16) for image in (left, right))
    apart = numpy.abs(ours - theirs).max(axis=2)
    count, total = int((apart > 0).sum()), apart.size
    told = f"{count:,} of {total:,} pixels differ ({count / total:.2%}), by at most {int(apart.max())} of 255"
    alike = ssim(left, right)
    return told if alike is None else f"{told}; SSIM {alike:.4f}"


def ssim(left: Image, right: Image) -> float | None:
    """Return the structural similarity of two pictures of one size, in grey: 1.0 when they look the same.

    The mean of Wang, Bovik, Sheikh and Simoncelli (2004) over windows of 7 × 7 pixels, with K1 0.01 and K2 0.03;
    None of a picture smaller than a window.
    """
    import numpy

    shrink = 1 + int((left.width * left.height / _FOR_SSIM) ** 0.5) if left.width * left.height > _FOR_SSIM else 1
    if min(left.size) // shrink < _WINDOW:
        return None
    x, y = (numpy.asarray(_grey(image).reduce(shrink), dtype=numpy.float64) for image in (left, right))
    mean = _window_mean(numpy)
    many = _WINDOW**2
    mx, my = mean(x), mean(y)
    sample = many / (many - 1)  # the variance of a sample
    vx, vy, vxy = sample * (mean(x * x) - mx * mx), sample * (mean(y * y) - my * my), sample * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(scores.mean())


def _grey(image: Image) -> Image:
    from PIL import Image

    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("L")


def _window_mean(numpy: Any) -> Callable[[Any], Any]:
    def mean(values: Any) -> Any:
        total = numpy.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        n = _WINDOW
        return (total[n:, n:] - total[:-n, n:] - total[n:, :-n] + total[:-n, :-n]) / n**2

    return mean


def difference_picture(left: bytes, right: bytes) -> bytes | None:
    """Return a PNG of where two pictures differ, in red over the first one in pale grey; None of what is no picture."""
    from PIL import Image, ImageChops

    try:
        ours, theirs = (_opened(data, "PNG" if data.startswith(b"\x89PNG") else "JPEG") for data in (left, right))
    except Exception:  # whatever a picture from elsewhere makes its reader raise
        return None
    size = (max(ours.width, theirs.width), max(ours.height, theirs.height))
    one, other = (_on_white(image, size) for image in (ours, theirs))
    red, green, blue = ImageChops.difference(one, other).split()
    apart = ImageChops.lighter(ImageChops.lighter(red, green), blue).point(lambda value: 255 if value else 0)
    pale = Image.blend(one.convert("L").convert("RGB"), Image.new("RGB", size, "white"), 0.8)
    pale.paste((211, 47, 47), mask=apart)
    file = io.BytesIO()
    pale.save(file, "PNG")
    return file.getvalue()


def _on_white(image: Image, size: tuple[int, int]) -> Image:
    from PIL import Image

    page = Image.new("RGBA", size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


def compare_pdf(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two PDF files without the dates at which they were made."""
    ours, theirs = _undated(left), _undated(right)
    return same("pdf date") if ours is not None and ours == theirs else Outcome()


def _undated(data: bytes) -> bytes | None:
    if not data.startswith(b"%PDF-"):
        return None
    return re.sub(rb"/(?:CreationDate|ModDate)\s{0,9}\(D:[^)]{0,99}\)", b"/Date", data)
