"""``python -m reprokit``: the command line, for where the script is not on the path."""

from __future__ import annotations

import sys

from reprokit.cli import main

if __name__ == "__main__":
    sys.exit(main())
