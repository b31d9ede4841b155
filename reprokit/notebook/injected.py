"""How papermill writes parameters into a notebook: as what they stand for, from a cell that was parsed.

Only the runs that reprokit starts use it; somebody else's ``papermill --engine reprokit`` writes as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from reprokit.errors import UsageError
from reprokit.notebook.parameters import TAG, declared
from reprokit.notebook.spelled import Items, Text, spell

__all__ = ["LANGUAGE", "codify", "use"]

LANGUAGE = "python: as reprokit writes it"  # no kernel and no language of somebody else's has this name


class _Translator(PythonTranslator):  # type: ignore[misc]
    """Writes Python."""

    @classmethod
    def translate(cls, val: Any) -> str:
        """Return the expression for a value."""
        return spell(val) if isinstance(val, (Text, Items)) else str(super().translate(val))

    @classmethod
    def inspect(cls, parameters_cell: Any) -> list[Any]:
        """Return what a cell declares, as papermill has it."""
        try:
            found = declared({"cells": [{**parameters_cell, "metadata": {"tags": [TAG]}}]})
        except UsageError:  # it is told in better words, where it matters
            return []
        return [
            Parameter(name=one.name, inferred_type_name=one.kind or "None", default=one.expression, help=one.comment)
            for one in found.values()
        ]


def codify(parameters: Mapping[str, Any]) -> str:
    """Return the source of the cell that gives a notebook these parameters."""
    return str(_Translator.codify(parameters))


def use() -> str:
    """Make the translator known to papermill, and return the language to ask for."""
    papermill_translators.register(LANGUAGE, _Translator)
    return LANGUAGE
