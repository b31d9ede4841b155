"""Templates filled in with values, for the languages that no library writes; and YAML, which one does.

It knows how a value is quoted in each language; it does not know what is written.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

import reprokit
from reprokit.errors import ReprokitError

__all__ = ["document", "filled", "groovy"]


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists stand in from their key, a text of several lines is a block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def document(value: Any) -> str:
    """Return a value as a YAML document, its keys in their order.

    >>> print(document({"jobs": [{"run": "make"}]}), end="")
    jobs:
      - run: make
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def filled(template: str, **values: Any) -> str:
    """Return a template of ``templates/export`` with its values in place.

    In a template ``x | python`` is a Python literal, ``x | sh`` a word for a shell, ``x | groovy`` a string of Groovy.

    Raises:
        ReprokitError: this installation has no such template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound

    environment = Environment(
        loader=FileSystemLoader(_folders()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"python": ascii, "sh": shlex.quote, "groovy": groovy}
    try:
        return environment.get_template(template).render(**values)
    except TemplateNotFound as error:
        raise ReprokitError(f"the template {template} is not there", remedy="install reprokit again") from error


def _folders() -> list[Path]:
    """Return where templates may be: in an installation, and in a checkout."""
    package = Path(reprokit.__file__).parent
    return [package / "templates" / "export", package.parent / "templates" / "export"]


def groovy(text: str) -> str:
    """Return a text as a string of Groovy in which nothing is replaced.

    >>> print(groovy("it's $HOME"))
    'it\\'s $HOME'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
