"""The frozen values that make up a run, and how they become JSON and back.

They know nothing of files, kernels or stores. A record is checked by the round trip
``from_dict(to_dict())``, so there is one definition of "valid".
"""

from reprokit.records.base import Record
from reprokit.records.checked import Checked
from reprokit.records.explanation import Experiment, Explanation
from reprokit.records.run import (
    SCHEMA,
    Assumption,
    Capture,
    Cell,
    Checkpoint,
    CodeState,
    Config,
    Distribution,
    Environment,
    FileUse,
    Gap,
    Library,
    Machine,
    Metric,
    Module,
    Process,
    RandomState,
    RemoteUse,
    Resources,
    Run,
)
from reprokit.records.verdict import CellVerdict, Difference, Divergence, FileVerdict, Verdict

__all__ = [
    "SCHEMA",
    "Assumption",
    "Capture",
    "Cell",
    "CellVerdict",
    "Checked",
    "Checkpoint",
    "CodeState",
    "Config",
    "Difference",
    "Distribution",
    "Divergence",
    "Environment",
    "Experiment",
    "Explanation",
    "FileUse",
    "FileVerdict",
    "Gap",
    "Library",
    "Machine",
    "Metric",
    "Module",
    "Process",
    "RandomState",
    "Record",
    "RemoteUse",
    "Resources",
    "Run",
    "Verdict",
]
