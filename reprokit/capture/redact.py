"""Takes secrets out of what is about to be recorded: by the name of a key, and in URLs.

What is left in place of a secret says so; nothing of it, not even its length, is kept.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["HIDDEN", "argv", "url", "value"]

HIDDEN = "[redacted]"

# Whole words, so that `num_tokens` and `keyboard` stay and `api_token` and `AWS_SECRET_ACCESS_KEY` go.
_WORD = re.compile(
    r"(?:^|[^a-z])(?:password|passwd|passphrase|pwd|secret|token|credential|apikey|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|auth|authorization|cookie|session[_-]?id|dsn)s?(?:$|[^a-z])",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"(?:^|[^a-z])(?:max|min|num|n|count|new|total|special|added|pad|eos|bos|sep|cls|unk|mask|memory)[_-]?tokens?$"
    r"|(?:^|[^a-z_-])tokens$|(?:^|[^a-z])tokens?[_-](?:count|limit|length|size|dim|id|ids|type)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"[\w.+-]+")  # --name, or name as in name=value
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/@\s]+@", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<key>[?&;][^=&\s]*(?:token|key|secret|password|signature|sig|auth)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)


def is_secret(key: str) -> bool:
    """Return whether a key's name says that its value is a secret.

    >>> is_secret("db.password"), is_secret("AWS_SECRET_ACCESS_KEY"), is_secret("num_tokens")
    (True, True, False)
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    return bool(_WORD.search(spaced)) and not _COUNTS.search(spaced)


SECRET_FILES = (
    ".env",
    ".env.*",
    ".netrc",
    ".pgpass",
    "*.pem",
    "*.key",
    "id_rsa",
    "id_ed25519",
    ".pypirc",
    "credentials",
)


def is_secret_file(path: str) -> bool:
    """Return whether a file's name says that secrets are all it holds: its bytes are never kept.

    >>> is_secret_file("/work/.env"), is_secret_file("/work/data.csv")
    (True, False)
    """
    name = os.path.basename(path)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRET_FILES)


def url(text: str) -> str:
    """Return text with user names, passwords and signed parameters taken out of its URLs.

    >>> url("https://me:pw@host/x?token=abc&page=2")
    'https://[redacted]@host/x?token=[redacted]&page=2'
    """
    return _QUERY.sub(rf"\g<key>{HIDDEN}", _USER_INFO.sub(rf"\g<scheme>{HIDDEN}@", text))


def value(key: str, content: Any) -> Any:
    """Return a value that may be recorded under ``key``.

    >>> value("db", {"url": "https://me:pw@host/x", "password": "abc", "ports": [1, 2]})
    {'url': 'https://[redacted]@host/x', 'password': '[redacted]', 'ports': [1, 2]}
    """
    if is_secret(key):
        return HIDDEN
    if isinstance(content, Mapping):
        return {name: value(str(name), item) for name, item in content.items()}
    if isinstance(content, (list, tuple)):
        return [value("", item) for item in content]
    return url(content) if isinstance(content, str) else content


def argv(arguments: Iterable[str]) -> tuple[str, ...]:
    """Return a command line without the values of options that name secrets.

    >>> argv(["train.py", "--api-key", "abc", "--token=x", "--lr=1", "db.password=x"])
    ('train.py', '--api-key', '[redacted]', '--token=[redacted]', '--lr=1', 'db.password=[redacted]')
    """
    kept: list[str] = []
    hide_next = False
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        secret = _OPTION.fullmatch(option) is not None and is_secret(option)
        if hide_next and not argument.startswith("-"):
            kept.append(HIDDEN)
        else:
            kept.append(f"{option}={HIDDEN}" if secret and equals else url(argument))
        hide_next = secret and not equals and option.startswith("-")
    return tuple(kept)
