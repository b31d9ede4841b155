"""What remote data is called in a record: addresses and queries without secrets, and the same each time.

A signature that is made anew for every request is no part of an address, so it is left out.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

from reprokit.capture import redact

__all__ = ["data_source", "find", "host_of", "of_query", "of_url", "scheme_of"]

_LONGEST = 2000  # characters of a query that are kept
# What presigned addresses of S3, GCS, Azure and CloudFront carry.
_SIGNED = re.compile(
    r"x-(?:amz|goog)-(?!version)[\w-]*|awsaccesskeyid|googleaccessid|signature|sig|expires|key-pair-id|policy"
    r"|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"[?&](?:x-(?:amz|goog)-signature|signature|sig)=", re.IGNORECASE)
_REMOTE = re.compile(
    r"(?:https?|s3[an]?|gcs|gs|r2|az|azure|abfss?|adl|hf|hdfs|oci|oss|ftps?|sftp|webhdfs)://[^\s'\"`<>\\]+",
    re.IGNORECASE,
)
_SECRET = r"(?:password|passwd|passphrase|pwd|secret\w*|\w*token|\w*credentials?|\w*access_key\w*|api_?key|key_id)"
_IN_QUOTES = re.compile(
    rf"\b(?P<key>\w*{_SECRET}|identified\s+by)(?P<sign>\s*(?:=>|:=|=|:|\bto\b)?\s*)[eE]?'(?:[^']|'')*'", re.IGNORECASE
)
_IN_TEXT = re.compile(rf"\b(?P<key>{_SECRET})\s*=\s*(?!\[redacted)[^\s'\";,&)]+", re.IGNORECASE)


def of_url(url: str) -> str:
    """Return an address that may be recorded.

    >>> of_url("https://b.s3.amazonaws.com/k?versionId=7&X-Amz-Signature=ab&X-Amz-Credential=me&X-Amz-Date=now")
    'https://b.s3.amazonaws.com/k?versionId=7'
    >>> of_url("https://me:pw@host/x?token=abc&page=2#part")
    'https://[redacted]@host/x?token=[redacted]&page=2'
    """
    url = url.partition("#")[0]
    if _SIGNATURE.search(url):
        head, _, query = url.partition("?")
        kept = [part for part in query.split("&") if not _SIGNED.fullmatch(part.partition("=")[0])]
        url = head + ("?" + "&".join(kept) if kept else "")
    return redact.url(url)


def of_query(text: str) -> str:
    """Return a query that may be recorded: without the secrets in it, and not longer than 2,000 characters.

    >>> of_query("CREATE USER me PASSWORD 'abc'")
    "CREATE USER me PASSWORD '[redacted]'"
    >>> of_query("ATTACH 'host=db password=abc dbname=x' AS pg")
    "ATTACH 'host=db password=[redacted] dbname=x' AS pg"
    """
    text = _IN_QUOTES.sub(rf"\g<key>\g<sign>'{redact.HIDDEN}'", redact.url(text.strip()))
    text = _IN_TEXT.sub(rf"\g<key>={redact.HIDDEN}", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def data_source(scheme: str, host: object = None, port: object = None, database: object = None) -> str:
    """Return a database's address; users and passwords are never part of it.

    >>> data_source("postgresql", "db.example.org", 5432, "sales")
    'postgresql://db.example.org:5432/sales'
    """
    name = str(host or "")
    if name.startswith("/"):  # the folder of a socket
        name = quote(name, safe="")
    name = f"[{name}]" if ":" in name else name
    return redact.url(f"{scheme}://{name}" + (f":{port}" if port else "") + (f"/{database}" if database else ""))


def find(text: str) -> list[str]:
    """Return the remote addresses in a text, such as a query, each once.

    >>> find("select * from 's3://b/x.parquet' join read_csv('https://h/y.csv') using (k)")
    ['s3://b/x.parquet', 'https://h/y.csv']
    """
    return list(dict.fromkeys(match.group().rstrip(".,;)") for match in _REMOTE.finditer(text)))


def scheme_of(url: str) -> str:
    """Return an address's scheme in lower case, "" when it has none.

    >>> scheme_of("S3://b/k"), scheme_of("/tmp/x")
    ('s3', '')
    """
    head, found, _ = url.partition("://")
    return head.lower() if found and head.isascii() else ""


def host_of(url: str) -> str:
    """Return scheme and host of an address.

    >>> host_of("https://h:8080/a/b?c")
    'https://h:8080'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))
