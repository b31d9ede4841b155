"""``reprokit params``: what a notebook can be given. Nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DONE, emit_json, json_option

if TYPE_CHECKING:
    from reprokit.notebook.parameters import Parameter

__all__ = ["params"]


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print a JSON schema, with what the notebook's metadata adds.")
@json_option
def params(notebook: Path, schema: bool, as_json: bool) -> int:
    """Show the parameters of NOTEBOOK: name, type, default and comment.

    They are the names that its cell tagged "parameters" sets at the top level. With --json each is
    {name, type, required, default, expression, comment}.
    """
    from reprokit.notebook.parameters import declared, read_notebook
    from reprokit.notebook.schema import json_schema

    content = read_notebook(notebook)
    known = declared(content)
    if schema:
        emit_json(json_schema(content, known))
    elif as_json:
        properties = json_schema(content, known)["properties"]
        emit_json([_entry(parameter, properties[parameter.name]) for parameter in known.values()])
    else:
        click.echo("\n".join(_lines(known)))
    return DONE


def _entry(parameter: Parameter, shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.kind or None,
        "required": parameter.is_required,
        "default": shown.get("default"),
        "expression": parameter.expression or None,
        "comment": parameter.comment,
    }


def _lines(known: dict[str, Parameter]) -> list[str]:
    from reprokit.views.plain import clip, plain, table

    if not known:
        return ['It declares no parameters: tag the cell that sets their defaults "parameters".']
    rows = [["name", "type", "default", ""]]
    for parameter in known.values():
        default = "(must be given)" if parameter.is_required else clip(plain(parameter.expression), 40)
        rows.append([plain(parameter.name), clip(plain(parameter.kind), 40), default, plain(parameter.comment)])
    return table(rows)
