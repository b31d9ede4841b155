"""The README cannot promise what is not there: its commands, verbs and settings exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click

from reprokit.cli import app
from reprokit.magics import VERBS
from reprokit.settings import Settings

README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^\$ reprokit ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= set(app.list_commands(click.Context(app)))


def test_every_verb_is_in_the_readme_and_the_other_way_round() -> None:
    section = README.split("## In a notebook")[1].split("## In a terminal")[0]
    codes = re.findall(r"`(%?[^`]+)`", section)
    named = {word for code in codes for word in re.findall(r"^(?:%repro )?([a-z]+)", code)}
    assert set(VERBS) <= named


def test_every_setting_of_the_readme_exists() -> None:
    table = README.split("[tool.reprokit]")[1].split("```")[0]
    named = set(re.findall(r"^([a-z_]+) =", table, re.MULTILINE))
    assert named
    assert named <= {field.name for field in dataclasses.fields(Settings)}


def test_the_demo_is_a_transcript_of_a_run_that_was_identical() -> None:
    transcript = README.split("<!-- demo: begin -->")[1].split("<!-- demo: end -->")[0]
    assert "$ reprokit replay latest\nidentical:" in transcript
    assert "exit code 0" in transcript
