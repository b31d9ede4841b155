"""``reprokit lint``: what would keep notebooks from being repeated, said before any run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option

if TYPE_CHECKING:
    from reprokit.lint import Finding

__all__ = ["lint"]


@click.command()
@click.argument("notebooks", metavar="NOTEBOOK...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--quiet", "-q", is_flag=True, help="Warnings only.")
@json_option
def lint(notebooks: tuple[Path, ...], quiet: bool, as_json: bool) -> int:
    """Say what would keep NOTEBOOK from being repeated, without running it.

    For notebooks and for Python scripts, with cells after `# %%`; a folder stands for all notebooks in it. The
    exit code is 1 when there are warnings. A comment `# reprokit: ignore[P301]` passes over a finding in its
    line, or in the whole cell when it is the cell's first line.
    """
    found = {path: _check(path, quiet) for path in _files(notebooks)}
    if as_json:
        emit_json({"files": [_document(path, findings) for path, findings in found.items()]})
    else:
        click.echo("\n".join(_lines(found)))
    return DIFFERENT if any(one.severity == "warning" for findings in found.values() for one in findings) else DONE


def _files(given: Sequence[Path]) -> list[Path]:
    """Return the files to check: those named, and all notebooks in the folders named."""
    files: dict[Path, None] = {}
    for path in given:
        inside = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        hidden = (one for one in inside if not any(part.startswith(".") for part in one.relative_to(path).parts))
        files.update(dict.fromkeys(hidden if path.is_dir() else inside))
    return list(files)


def _check(path: Path, quiet: bool) -> list[Finding]:
    from reprokit.lint import check
    from reprokit.store.layout import project_root

    findings = check(path, project_root(path.absolute().parent))
    return [one for one in findings if one.severity == "warning" or not quiet]


def _document(path: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    return {"path": str(path), "findings": [one.to_dict() for one in findings]}


def _lines(found: dict[Path, list[Finding]]) -> list[str]:
    """Return the findings under their files, and a last line that counts them."""
    from reprokit.views.plain import count, indent, plain

    lines: list[str] = []
    for path, findings in found.items():
        lines += [plain(path)] if findings else []
        for one in findings:
            lines += [
                f"  {_place(path, one)}{one.code} {plain(one.message)}",
                *indent([f"→ {plain(one.remedy)}"], "      "),
            ]
        lines += [""] if findings else []
    counts = Counter(one.severity for findings in found.values() for one in findings)
    told = f"{count(counts['warning'], 'warning')}, {counts['info']} for information"
    return [*lines, f"{count(len(found), 'file')}: {told if counts else 'nothing found'}"]


def _place(path: Path, finding: Finding) -> str:
    if not finding.cell:
        return ""
    if path.suffix == ".py":
        return f"line {finding.line}: " if finding.line else f"cell {finding.cell}: "
    return f"cell {finding.cell}, line {finding.line}: " if finding.line else f"cell {finding.cell}: "
