"""The parameters of a notebook as a JSON schema: made from its cell, and completed by its own metadata.

A notebook may hold a schema of its own in its metadata, under ``reprokit.parameters``: it says more than types
can (a range, a pattern, what goes together). The two are merged, and given values are validated before anything
runs. A schema never reaches the network.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from reprokit.errors import UsageError
from reprokit.notebook.parameters import Parameter, literal
from reprokit.notebook.spelled import plain

__all__ = ["json_schema", "own", "require"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "complex": {"type": "number"},
    "str": {"type": "string"},
    "None": {"type": "null"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "Decimal": {"type": ["string", "integer"]},
}
_TYPES |= {name: {"type": "string"} for name in ("Path", "PosixPath", "PurePath", "PathLike")}
_TYPES |= {name: {"type": "object"} for name in ("dict", "Dict", "Mapping", "MutableMapping")}
_TYPES |= {name: {"type": "array"} for name in ("list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection")}
_TYPES |= {name: {"type": "array", "uniqueItems": True} for name in ("set", "Set", "frozenset", "FrozenSet")}


def json_schema(notebook: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the JSON schema of a notebook's parameters.

    Args:
        notebook: a version 4 notebook.
        known: what its cell declares.

    Raises:
        UsageError: its own schema is not one.

    >>> lr = Parameter(name="lr", default=0.1, annotation="float", expression="0.1", comment="of Adam")
    >>> json_schema({}, {"lr": lr})["properties"]
    {'lr': {'type': 'number', 'default': 0.1, 'description': 'of Adam'}}
    """
    given = own(notebook)
    properties = {name: _property(parameter) for name, parameter in known.items()}
    for name, entry in given.get("properties", {}).items():
        properties[name] = {**properties.get(name, {}), **entry} if isinstance(entry, dict) else entry
    required = [name for name, parameter in known.items() if parameter.is_required]
    rest = {key: value for key, value in given.items() if key not in ("properties", "required")}
    whole = {"$schema": _DIALECT, "type": "object", "additionalProperties": False, **rest, "properties": properties}
    return {**whole, "required": required} if required else whole


def own(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema in a notebook's metadata; empty when it has none.

    Raises:
        UsageError: what is there is no JSON schema, or refers to another one.
    """
    table = notebook.get("metadata", {}).get("reprokit", {})
    found = table.get("parameters", {}) if isinstance(table, Mapping) else {}
    if not found:
        return {}
    _require_schema(found)
    return dict(found)


def require(notebook: Mapping[str, Any], known: Mapping[str, Parameter], checked: Mapping[str, Any]) -> None:
    """Pass when defaults and given values together satisfy the notebook's own schema.

    Args:
        notebook: a version 4 notebook.
        known: what its cell declares.
        checked: the given values, fitted.

    Raises:
        UsageError: they do not, or the schema is none.
    """
    wanted = own(notebook)
    if not wanted:
        return
    import jsonschema

    defaults = {
        name: _as_json(parameter.default)
        for name, parameter in known.items()
        if parameter.default is not None or parameter.expression == "None"
    }
    validator = _validator(wanted)(wanted, format_checker=jsonschema.FormatChecker())
    error = jsonschema.exceptions.best_match(validator.iter_errors(defaults | plain(dict(checked))))
    if error is not None:
        where = f"parameter {error.path[0]!r}: " if error.path else ""
        remedy = "its metadata says so; `reprokit params NOTEBOOK --schema` shows it"
        raise UsageError(f"{where}{error.message}", remedy=remedy)


def _require_schema(found: Any) -> None:
    import jsonschema

    mend = "mend `reprokit.parameters` in the notebook's metadata"
    if not isinstance(found, Mapping) or not isinstance(found.get("properties", {}), Mapping):
        raise UsageError("the notebook's schema of parameters is no JSON schema of an object", remedy=mend)
    try:
        _validator(found).check_schema(found)
    except jsonschema.SchemaError as error:
        raise UsageError(f"the notebook's schema of parameters is not valid ({error.message})", remedy=mend) from error
    for target in _references(found):
        if not target.startswith("#"):
            raise UsageError(f"the notebook's schema refers to {target!r}", remedy="put that under `$defs` in it")


def _validator(found: Mapping[str, Any]) -> Any:
    import jsonschema

    return jsonschema.validators.validator_for(found, default=jsonschema.Draft202012Validator)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(node.get(key), str):
                yield node[key]
        for item in node.values():
            yield from _references(item)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _property(parameter: Parameter) -> dict[str, Any]:
    if parameter.annotation is not None:
        found = _of(ast.parse(parameter.annotation, mode="eval").body)
    else:
        found = dict(_TYPES.get(parameter.kind, {}))
    default = _as_json(parameter.default)
    if default is not None or parameter.expression == "None":
        found["default"] = default
    return {**found, "description": parameter.comment} if parameter.comment else found


def _as_json(value: Any) -> Any:
    """Return a default as JSON has it: collections as lists, what JSON has no value for as None."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_json(item) for item in (sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float)) else None


def _of(annotation: ast.expr) -> dict[str, Any]:
    """Return the schema of an annotation; empty, which takes anything, where its text does not tell."""
    if isinstance(annotation, ast.BinOp):
        return _any_of([_of(annotation.left), _of(annotation.right)])
    if isinstance(annotation, ast.Subscript):
        return _of_subscript(annotation)
    if isinstance(annotation, ast.Constant):
        return _of_constant(annotation)
    return dict(_TYPES.get(_last_name(annotation), {}))


def _of_constant(annotation: ast.Constant) -> dict[str, Any]:
    if annotation.value is None:
        return {"type": "null"}
    try:
        return _of(ast.parse(str(annotation.value), mode="eval").body)
    except SyntaxError:
        return {}


def _of_subscript(annotation: ast.Subscript) -> dict[str, Any]:
    kind = _last_name(annotation.value)
    inner = annotation.slice
    choices = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if kind == "Literal":
        return {"enum": [literal(choice) for choice in choices]}
    if kind == "Optional":
        return _any_of([_of(inner), {"type": "null"}])
    if kind == "Union":
        return _any_of([_of(choice) for choice in choices])
    if kind in ("Annotated", "Final"):
        return _of(choices[0])
    found = dict(_TYPES.get(kind, {}))
    if found.get("type") == "object" and len(choices) == 2:
        return {**found, "additionalProperties": _of(choices[1])}
    if found.get("type") != "array":
        return found
    if kind.lower() == "tuple" and not (isinstance(choices[-1], ast.Constant) and choices[-1].value is Ellipsis):
        return {**found, "prefixItems": [_of(one) for one in choices], "minItems": len(choices), "items": False}
    return {**found, "items": _of(choices[0])}


def _any_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    flat = [item for choice in choices for item in (choice["anyOf"] if list(choice) == ["anyOf"] else [choice])]
    return {} if {} in flat else {"anyOf": flat}


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
