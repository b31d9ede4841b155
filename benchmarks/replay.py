"""A replay in the current environment against papermill running the same notebook, as whole processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import notebook
from measure import (
    BIN,
    NOTEBOOKS,
    Options,
    Row,
    at_most,
    interleaved,
    median,
    notebook_project,
    paired_ratio,
    run,
    told,
    workspace,
)


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        place = notebook_project(folder / "project")
        ratios = []
        for name in NOTEBOOKS:
            plain = notebook.actions(place, name)
            plain["reprokit run"]()
            replay = partial(run, [BIN / "reprokit", "replay", "latest", "--env", "current"], place)
            times = interleaved({"papermill": plain["papermill"], "replay": replay}, options.repeats)
            ratios.append(paired_ratio(times["replay"], times["papermill"]))
            yield at_most(f"replay of {name}.ipynb", ratios[-1], 1.15, "×", told(times))
        yield at_most("replay, median of the three", median(ratios), 1.15, "×")
