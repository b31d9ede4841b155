"""The options that say what places the processes of steps, and where: for ``sweep`` and ``resume``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from reprokit.errors import UsageError

__all__ = ["chosen", "engine_options"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--engine", type=click.Choice(["local", "dask", "slurm"]), help="What runs it (local)."),
    click.option("--scheduler", metavar="ADDRESS", help="The Dask scheduler, such as tcp://host:8786."),
    click.option("--resources", metavar="NAME=N", help="What it takes of its Dask worker's, such as GPU=1."),
    click.option("--slurm", "slurm", multiple=True, metavar="KEY=VALUE", help="Ask Slurm, such as for partition=gpu."),
)


def engine_options(command: F) -> F:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(given: dict[str, Any], *more: str) -> dict[str, Any]:
    """Take the engine's options out of all of them, and return ``engine`` and those that were given.

    Args:
        given: the options of a command.
        more: further ones of its own that are the engine's.
    """
    found: dict[str, Any] = {"engine": given.pop("engine")}
    for name in ("scheduler", "resources", *more):
        value = given.pop(name)
        if value is not None:
            found[name] = value
    for word in given.pop("slurm"):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UsageError(f"--slurm {word!r} says nothing", remedy="write --slurm partition=gpu")
        found[key] = value
    return found
