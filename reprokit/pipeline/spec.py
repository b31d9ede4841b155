"""What a step is to be: one JSON document that says all of it, with a version and a schema.

It knows the document's form and how it is handed over; it does not know whether what it names is there.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError

__all__ = ["JSON_SCHEMA", "VERSION", "Spec", "encode", "read"]

VERSION = "reprokit.step/1"
_ENCODED = "base64:"

_PATHS = {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}

#: The JSON schema of a spec.
JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": f"urn:{VERSION.replace('/', ':')}",
    "title": "A step of reprokit: one notebook, script or run, executed as one process",
    "type": "object",
    "additionalProperties": False,
    "oneOf": [{"required": [key]} for key in ("notebook", "script", "run")],
    "properties": {
        "schema": {"const": VERSION, "description": "the version of this form"},
        "notebook": {"type": "string", "minLength": 1, "description": "the notebook to execute"},
        "script": {"type": "string", "minLength": 1, "description": "the Python script to run"},
        "run": {"type": "string", "minLength": 1, "description": "the recorded run whose cells to execute"},
        "arguments": {"type": "array", "items": {"type": "string"}, "description": "what a script is called with"},
        "project": {
            "type": "string",
            "description": "the folder that all paths here are relative to; the working directory by default",
        },
        "params": {"type": "object", "description": "parameters of the notebook"},
        "cwd": {"type": "string", "description": "working directory; the notebook's folder, or for a script project"},
        "environment": {
            "description": "what it runs in: an interpreter, or the locked environment of a run; this one by default",
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {"python": {"type": "string", "minLength": 1}, "run": {"type": "string", "minLength": 1}},
        },
        "variables": {
            "type": "object",
            "additionalProperties": {"type": ["string", "null"]},
            "description": "environment variables to set, or with null to leave out",
        },
        "inherit": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "description": "names of variables to inherit besides the usual ones (a trailing * matches the rest)",
        },
        "inputs": {**_PATHS, "description": "files and folders that must be there, and count for reuse"},
        "outputs": {**_PATHS, "description": "files that must have been made in the end"},
        "seed": {"type": "integer", "minimum": 0, "description": "what all generators are seeded with"},
        "output_notebook": {"type": "string", "minLength": 1, "description": "where the executed notebook is written"},
        "kernel": {"type": "string", "minLength": 1, "description": "the kernel in place of the notebook's own"},
        "name": {"type": "string", "description": "a name for the run"},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "sweep": {"type": "string", "minLength": 1, "description": "the sweep that the run belongs to"},
        "point": {"type": "integer", "minimum": 1, "description": "the number of its point in the sweep"},
        "cell_timeout": {**_SECONDS, "description": "seconds that one cell may take"},
        "timeout": {**_SECONDS, "description": "seconds that the whole step may take"},
        "reuse": {
            "enum": [False, True, "anyway"],
            "description": "take over the results of an unchanged run; anyway: also of one that cannot be repeated",
        },
        "checkpoint": {
            "type": "number",
            "minimum": 0,
            "description": "seconds that cells take together until the kernel's state is kept, to resume from",
        },
        "resume": {"type": "string", "minLength": 1, "description": "the run of it that was cut off, to go on from"},
        "result": {"type": "string", "minLength": 1, "description": "where the result is written, as JSON"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a step is to be; the fields are those of ``JSON_SCHEMA``, which says what each means."""

    notebook: str | None = None
    script: str | None = None
    run: str | None = None
    arguments: tuple[str, ...] = ()
    project: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    cwd: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    seed: int | None = None
    output_notebook: str | None = None
    kernel: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    sweep: str | None = None
    point: int | None = None
    cell_timeout: float | None = None
    timeout: float | None = None
    reuse: bool | str = False
    checkpoint: float | None = None
    resume: str | None = None
    result: str | None = None

    @property
    def folder(self) -> Path:
        """The folder that all paths are relative to."""
        return Path(self.project or ".").resolve()

    def path(self, name: str) -> Path:
        """Return one of the spec's paths as this process finds it."""
        return Path(self.project) / name

    def to_dict(self) -> dict[str, Any]:
        """Return the document, without what is as it is by default."""
        found: dict[str, Any] = {"schema": VERSION}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            value = list(value) if isinstance(value, tuple) else value
            if value is not None and value is not False and value not in ([], {}, ""):  # a seed may be 0
                found[one.name] = dict(value) if isinstance(value, Mapping) else value
        return found

    @classmethod
    def from_dict(cls, document: Any) -> Spec:
        """Build a spec from a document.

        Raises:
            UsageError: it is none; names the key.

        >>> Spec.from_dict({"notebook": "train.ipynb", "params": {"lr": 0.1}}).params
        {'lr': 0.1}
        """
        _require(document)
        known = {key: value for key, value in document.items() if key != "schema"}
        for key in ("arguments", "inherit", "inputs", "outputs"):
            if key in known:
                known[key] = tuple(known[key])
        made = cls(**known)
        if made.arguments and made.script is None:
            raise UsageError("the spec has arguments, and no script", remedy="give a notebook its `params`")
        if made.script is not None and (made.checkpoint is not None or made.resume is not None):
            raise UsageError("the spec has a script, and a checkpoint", remedy="only notebooks have checkpoints")
        if made.params and made.script is not None:
            raise UsageError("the spec has params, and a script", remedy="give a script its `arguments`")
        return made


def read(word: str) -> Spec:
    """Return the spec that a command line names.

    Args:
        word: a path, ``-`` for the standard input, or ``base64:`` and the document in URL-safe base64.

    Raises:
        UsageError: it cannot be read, or is no spec.
    """
    try:
        if word == "-":
            text = sys.stdin.read()
        elif word.startswith(_ENCODED):
            text = base64.urlsafe_b64decode(word.removeprefix(_ENCODED)).decode("utf-8")
        else:
            text = Path(word).read_text("utf-8")
        document = json.loads(text)
    except OSError as error:
        raise UsageError(f"the spec {word} cannot be read ({error.strerror})", remedy="name a JSON file") from error
    except (ValueError, binascii.Error) as error:
        shown = word if len(word) <= 60 else f"{word[:60]}…"
        raise UsageError(f"the spec {shown} is not JSON ({error})", remedy=_SEE) from error
    return Spec.from_dict(document)


def encode(spec: Spec) -> str:
    """Return a spec as one word of letters, digits, ``_``, ``-``, ``=`` and a colon, which every shell leaves alone.

    >>> read(encode(Spec(notebook="a b.ipynb"))).notebook
    'a b.ipynb'
    """
    document = json.dumps(spec.to_dict(), sort_keys=True, separators=(",", ":"))
    return _ENCODED + base64.urlsafe_b64encode(document.encode("utf-8")).decode("ascii")


_SEE = "`python -m reprokit.step --schema` prints the form"


def _require(document: Any) -> None:
    """Pass when a document has the form."""
    if not isinstance(document, dict):
        raise UsageError("the spec is not a JSON object", remedy=_SEE)
    known = JSON_SCHEMA["properties"]
    for key in document:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {close[0]}?" if close else _SEE
            raise UsageError(f"the spec has an unknown key {key!r}", remedy=remedy)
    version = document.get("schema", VERSION)
    if version != VERSION:
        raise UsageError(f"the spec has the version {version!r}", remedy=f"this reprokit reads {VERSION}")
    if sum(key in document for key in ("notebook", "script", "run")) != 1:
        raise UsageError("the spec has not one of notebook, script and run", remedy="name what to execute")
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(JSON_SCHEMA).iter_errors(document))
    if error is not None:
        where = ".".join(map(str, error.absolute_path))
        raise UsageError(f"the spec's {where or 'form'}: {error.message}", remedy=_SEE)
