"""What would keep a notebook from being repeated, found in its text alone: nothing of it is run.

``check`` reads one notebook or script and returns findings. Rules look at cells in the order of the
document, as a fresh run would; where the text leaves a doubt, they keep silent.
"""

from reprokit.lint.check import check
from reprokit.lint.finding import RULES, Finding

__all__ = ["RULES", "Finding", "check"]
