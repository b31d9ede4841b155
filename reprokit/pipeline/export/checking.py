"""The lines of a CI system's job that replays runs: got from the project's remote, trusted by name, and compared.

Which runs may be executed there is said in the exported file, where a change of it is seen.
"""

from __future__ import annotations

from reprokit.pipeline.export.work import Work

__all__ = ["REPORT", "lines", "note"]

REPORT = "reprokit-check.xml"
_COMMAND = "python -m reprokit"


def lines(work: Work) -> list[str]:
    """Return the commands: pull, trust and check the runs of the work."""
    runs = "".join(f" {run}" for run in work.checked)
    trusts = [f"{_COMMAND} trust {run}" for run in work.checked]
    return [f"{_COMMAND} pull{runs}", *trusts, f"{_COMMAND} check{runs} --junit {REPORT}"]


def note(work: Work) -> str:
    """Return what to do before those lines can work."""
    runs = f" {' '.join(work.checked)}" if work.checked else ""
    return f"the check gets its runs from `remote` in [tool.reprokit]: `reprokit push{runs}` brings them there"
