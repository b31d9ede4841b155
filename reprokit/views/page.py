"""The frame of every HTML view: one style that follows JupyterLab's theme, and no script.

Knows nothing of records; whoever adds a piece has escaped it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from reprokit.views.plain import block, plain

__all__ = ["code", "document", "page", "rows", "text", "triptych"]

# JupyterLab's own variables, so that light and dark themes both fit; the fallbacks suit a light page,
# and "inherit" and translucent greys suit either.
_STYLE = """
.reprokit{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:var(--jp-ui-font-size1,13px);
color:var(--jp-ui-font-color1,inherit);line-height:1.5}
.reprokit table{border-collapse:collapse;margin:.4em 0}
.reprokit th,.reprokit td{text-align:left;vertical-align:top;padding:.15em 1em .15em 0;background:none;
border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,.25))}
.reprokit th{font-weight:500;color:var(--jp-ui-font-color2,gray)}
.reprokit h4{margin:.8em 0 .2em;font-weight:600}
.reprokit ul{margin:.3em 0;padding-left:1.3em}
.reprokit pre,.reprokit code{font-family:var(--jp-code-font-family,monospace);
font-size:var(--jp-code-font-size,12px);color:inherit;background:none}
.reprokit pre{margin:.3em 0;padding:.5em .8em;overflow-x:auto;
background:var(--jp-layout-color2,rgba(128,128,128,.1))}
.reprokit .rk-head{font-weight:600;padding-left:.6em;border-left:4px solid gray}
.reprokit .rk-good{border-color:var(--jp-success-color1,#388e3c)}
.reprokit .rk-warn{border-color:var(--jp-warn-color1,#f57c00)}
.reprokit .rk-bad{border-color:var(--jp-error-color1,#d32f2f)}
.reprokit table th,.reprokit table td{text-align:left!important}
.reprokit figure{display:inline-block;margin:.3em 1em .3em 0;vertical-align:top}
.reprokit figure img{max-width:30em;max-height:30em;border:1px solid rgba(128,128,128,.25);background:white}
.reprokit details{margin:.3em 0 .3em 1em}
.reprokit .rk-dim{color:var(--jp-ui-font-color2,gray)}
""".strip()


def page(parts: Iterable[str]) -> str:
    """Return escaped pieces as one self-contained element."""
    return f'<div class="reprokit"><style>{_STYLE}</style>{"".join(parts)}</div>'


def text(item: object) -> str:
    """Return anything as escaped text on one line.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    return escape(plain(item))


def code(source: str) -> str:
    """Return source or a difference as an escaped block."""
    return f"<pre>{escape(chr(10).join(block(source)))}</pre>"


def rows(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a table of escaped cells."""
    head = "".join(f"<th>{text(item)}</th>" for item in heads)
    body = "".join("<tr>" + "".join(f"<td>{text(item)}</td>" for item in line) + "</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>" if heads else f"<table>{body}</table>"


def triptych(addresses: Sequence[str]) -> str:
    """Return pictures side by side: before, after, and where they differ; only ``data:`` addresses are shown."""
    captions = ("before", "after", "difference")
    shown = [pair for pair in zip(captions, addresses, strict=False) if pair[1].startswith("data:image/")]
    figures = (
        f'<figure><img src="{escape(address)}" alt="{name}"><figcaption>{name}</figcaption></figure>'
        for name, address in shown
    )
    return f"<div>{''.join(figures)}</div>"


def document(title: str, body: str) -> str:
    """Return a page of its own; ``body`` is what a view gave, and nothing in it can load or run anything."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    return f"<!doctype html>\n<html><head>{head}<title>{text(title)}</title></head><body>{body}</body></html>\n"
