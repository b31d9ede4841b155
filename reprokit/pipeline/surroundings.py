"""What a step's process inherits: what is on a list, what is named, and nothing else.

An engine, a scheduler or a shell sets variables that change results (threads, paths, libraries). So a step's
process gets those that a program needs to run at all, those that are recorded, and those that its spec names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

__all__ = ["DEVICES", "INHERITED", "inherited"]

#: Which devices a process may use: engines give each worker others, so that two do not use the same.
DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")

#: Variables that every step inherits (a trailing ``*`` matches the rest). They say where
#: programs, files and services are. Thread limits are not among them: they are the record's, or the spec's.
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TMP", "TEMP", "XDG_*",
    "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "NVIDIA_*", "ROCR_VISIBLE_DEVICES",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "OPENBLAS_CORETYPE", "MKL_CBWR",  # asked for so that numbers stay the same
    "SYSTEMROOT", "JUPYTER_*", "GIT_*", "UV_*", "PIP_*", "REPROKIT_*",
)  # fmt: skip


def inherited(
    recorded: Iterable[str], named: Mapping[str, str | None], environ: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """Return what to set, or with None to take away, so that a process has only what is meant for it.

    Args:
        recorded: patterns of the variables that runs record (the project's setting).
        named: variables of the spec, with None for those to leave out.
        environ: what would be inherited; this process's variables by default.

    >>> inherited(["LANG"], {"A": "1"}, {"PATH": "/bin", "LANG": "C", "OMP_NUM_THREADS": "1"})
    {'OMP_NUM_THREADS': None, 'A': '1'}
    """
    patterns = (*INHERITED, *recorded)
    there = os.environ if environ is None else environ
    found: dict[str, str | None] = {
        name: None for name in there if not any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    return found | dict(named)
