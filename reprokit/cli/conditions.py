"""The options that say what a replay runs under, and how strictly it is compared, for every command that replays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.conditions import Conditions
    from reprokit.settings import Settings

__all__ = ["Asked", "comparison_options", "options"]

_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True)
_COMPARISON = (
    click.option(
        "--compare",
        "mode",
        type=click.Choice(["exact", "typed"]),
        default="typed",
        show_default=True,
        help="Whether clocks, addresses, dates inside files and the like may differ.",
    ),
    click.option(
        "--rtol",
        type=click.FloatRange(min=0),
        default=0.0,
        help="How far numbers may be apart, relatively.",
    ),
    click.option("--atol", type=click.FloatRange(min=0), default=0.0, help="How far numbers may be apart."),
)
_OPTIONS = (
    click.option(
        "--env",
        type=click.Choice(["auto", "locked", "current"]),
        help="The environment: the recorded one, this one, or what fits (the setting replay_env by default).",
    ),
    click.option("--freeze-time", is_flag=True, help="Let each cell begin at the time at which it was recorded."),
    click.option(
        "--no-network", is_flag=True, help="Refuse connections to other machines, and say which cell wanted one."
    ),
    click.option(
        "--threads", type=click.IntRange(min=1), help="The threads of all numeric libraries, instead of those recorded."
    ),
    click.option(
        "--until", type=click.IntRange(min=1), metavar="CELL", help="Stop after this cell, and compare up to it."
    ),
    click.option("--offline", is_flag=True, help="Build the environment without network, from what is cached."),
    click.option("--wheelhouse", type=_FOLDER, help="Take all packages from this folder (see `reprokit env`)."),
    *_COMPARISON,
)


class Asked:
    """What was asked for by these options."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def conditions(self, settings: Settings) -> Conditions:
        """Return the conditions; what was not asked for is as recorded, or as it is set."""
        from reprokit.replay.conditions import Conditions

        asked = self._options
        return Conditions(
            environment=asked["env"] or settings.replay_env,
            clock="recorded" if asked["freeze_time"] else "real",
            network="closed" if asked["no_network"] else "open",
            threads=asked["threads"],
            until=asked["until"],
            offline=asked["offline"] or asked["wheelhouse"] is not None,
            wheelhouse=asked["wheelhouse"],
        )

    def comparison(self) -> Comparison:
        """Return how strict the comparison is."""
        from reprokit.replay.comparison import Comparison

        asked = self._options
        return Comparison(exact=asked["mode"] == "exact", rtol=asked["rtol"], atol=asked["atol"])


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how strictly is compared, as its arguments mode, rtol and atol."""
    for option in reversed(_COMPARISON):
        command = option(command)
    return command


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it gets them as one argument, ``asked``."""

    @functools.wraps(command)
    def taking(**given: Any) -> Any:
        ours = {name: given.pop(name) for name in _NAMES}
        return command(asked=Asked(ours), **given)

    for option in reversed(_OPTIONS):
        taking = option(taking)
    return taking


_NAMES = ("env", "freeze_time", "no_network", "threads", "until", "offline", "wheelhouse", "mode", "rtol", "atol")
