"""The configuration probe: what the user's code read and parsed, by key, with its source, and without secrets."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from reprokit.capture.config import options
from reprokit.capture.config.configuration import looks_like_configuration
from reprokit.records import Config, Run
from reprokit.store.store import Store

RECORDED = Path(__file__).with_name("recorded.py")


def captured(project: Path, *cells: str, environ: dict[str, str] | None = None, status: int = 0) -> Run:
    """Run the cells under a session in a process of its own, which ends with ``status``, and return the record."""
    file = project.parent / "cells.json"
    file.write_text(json.dumps(cells))
    environ = {**os.environ, "REPROKIT_LOCK": "never", **(environ or {})}
    command = [sys.executable, str(RECORDED), "record", str(file)]
    done = subprocess.run(command, cwd=project, env=environ, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    store = Store.open(project)
    return store.load(store.resolve("latest"))


def values_of(run: Run) -> dict[str, Any]:
    """Return what was recorded besides environment variables."""
    assert run.config is not None
    return {key: value for key, value in run.config.values.items() if run.config.sources[key] != "environment"}


TOML = "tomllib" if sys.version_info >= (3, 11) else "tomli"
READS = {
    "conf.yaml": ("import yaml\nyaml.compose(open('{}'))", "model:\n  depth: 3\nrate: !env RATE\n"),
    "conf.json": ("import json\njson.load(open('{}'))", '{"model": {"depth": 3}, "rate": "RATE"}'),
    "conf.toml": (f"import {TOML}\nopen('{{}}', 'rb').read()", 'rate = "RATE"\n[model]\ndepth = 3\n'),
}


@pytest.mark.parametrize("name", READS)
def test_a_file_that_a_cell_reads_is_recorded_by_key(name: str, project: Path) -> None:
    source, content = READS[name]
    (project / name).write_text(content)
    run = captured(project, source.format(name))
    assert run.config is not None
    assert values_of(run) == {"model.depth": 3, "rate": "RATE"}
    assert {run.config.sources[key] for key in ("model.depth", "rate")} == {name}


def test_code_that_the_user_gave_the_parser_is_not_run_again(project: Path) -> None:
    (project / "conf.yaml").write_text("a: !count x\nb: [!count y]\n")
    cell = (
        "import yaml\ncalls = []\n"
        "yaml.SafeLoader.add_constructor('!count', lambda loader, node: calls.append(node.value))\n"
        "yaml.safe_load(open('conf.yaml'))"
    )
    run = captured(project, cell, "pass", "assert calls == ['x', 'y']")
    assert values_of(run) == {"a": "x", "b": ["y"]}


def test_a_file_that_git_holds_is_recorded_as_it_was_read(project: Path) -> None:
    (project / "conf.ini").write_text("[model]\ndepth = 3\n")
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    subprocess.run(["git", "commit", "-qm", "conf"], cwd=project, check=True)
    run = captured(project, "open('conf.ini').read()\nimport os\nos.rename('conf.ini', 'gone.ini')")
    assert [use.stored for use in run.cells[0].reads] == ["git"]
    assert values_of(run) == {"model.depth": "3"}


def test_a_file_that_cannot_be_had_again_is_told(project: Path) -> None:
    (project / "conf.json").write_text('{"depth": 3}')
    (project / ".gitignore").write_text("conf.json\n")
    broken = (
        "from reprokit.store.objects import Objects\n"
        "def fail(self, digest):\n    raise OSError(5, 'Input/output error')\n"
        "Objects.get_bytes = fail\n"
    )
    run = captured(project, f"{broken}import json\njson.load(open('conf.json'))")
    assert values_of(run) == {}
    assert ["conf.json could not be looked at as configuration" in gap.message for gap in run.gaps].count(True) == 1


def test_yaml_is_not_parsed_for_a_user_who_has_no_parser_loaded(project: Path) -> None:
    (project / "conf.yaml").write_text("a: 1\n")
    run = captured(project, "open('conf.yaml').read()\nimport sys\nassert 'yaml' not in sys.modules")
    assert values_of(run) == {}
    assert "assert" in captured(project, "import sys\nassert 'yaml' not in sys.modules").cells[0].source


def test_keys_that_collide_get_the_name_of_their_file(project: Path) -> None:
    (project / "conf").mkdir()
    (project / "conf/a.json").write_text('{"lr": 1, "only": true}')
    (project / "conf/b.json").write_text('{"lr": 2}')
    run = captured(project, "open('conf/a.json').read()", "open('conf/b.json').read()")
    assert values_of(run) == {"lr": 1, "only": True, "conf/b.json:lr": 2}
    assert run.config is not None
    assert run.config.sources["conf/b.json:lr"] == "conf/b.json"


def test_a_file_cannot_pose_as_the_environment(project: Path) -> None:
    (project / "a.json").write_text('{"env": {"LANG": "x", "PATH": "/evil"}}')
    run = captured(project, "open('a.json').read()", environ={"LANG": "C"})
    assert run.config is not None
    assert run.config.values["env.LANG"] == "C"
    assert run.config.sources["env.PATH"] == "a.json"


def test_a_value_that_changes_is_recorded_as_it_was_last_and_told(project: Path) -> None:
    (project / "a.json").write_text('{"lr": 1, "gone": 2}')
    cells = [
        "open('a.json').read()",
        "open('a.json', 'w').write('{\"lr\": 3}')",
        "pass",
        "import json\nargs = __import__('argparse').Namespace(n=1, token='hunter2')",
        "args.n = 2",
    ]
    run = captured(project, *cells)
    # What the run wrote itself is a result, and stays out.
    assert values_of(run) == {"lr": 1, "gone": 2, "n": 2, "token": "[redacted]"}
    assert [gap.message for gap in run.gaps if gap.aspect == "config"] == [
        "argparse args changed in the run: n was 1, then 2"
    ]
    assert "hunter2" not in json.dumps({"config": run.config.to_dict() if run.config else None})


def test_data_is_not_taken_for_configuration(project: Path) -> None:
    data = {
        "rows.json": json.dumps([{"a": 1}] * 3),
        "table.json": json.dumps({"price": {str(row): row for row in range(50)}}),
        "map.geojson": json.dumps({"type": "FeatureCollection", "features": []}),
        "geo.json": json.dumps({"type": "FeatureCollection", "features": []}),
        "long.json": json.dumps({"values": list(range(1000))}),
        "many.json": json.dumps({f"k{n}": n for n in range(2000)}),
        "secrets.json": json.dumps({"a": "hunter2"}),
        "broken.json": "{",
        "text.ini": "no section here",
    }
    for name, content in data.items():
        (project / name).write_text(content)
    run = captured(project, "\n".join(f"open({name!r}).read()" for name in data))
    assert len(run.cells[0].reads) >= len(data) - 1
    assert values_of(run) == {}


def test_yaml_bombs_do_no_harm(project: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
    (project / "bomb.yaml").write_text(bomb)
    (project / "round.yaml").write_text("a: &a\n  b: *a\n")
    (project / "good.yaml").write_text("c: 1\n")
    names = "bomb", "round", "good"
    run = captured(project, "import yaml", *(f"open('{name}.yaml').read()" for name in names))
    assert values_of(run) == {"c": 1}


def test_options_local_to_the_main_function_of_a_script(project: Path) -> None:
    (project / "train.py").write_text(
        "import argparse, reprokit\n"
        "def main():\n"
        "    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('--lr', type=float)\n"
        "    parser.add_argument('--api-key')\n"
        "    options = parser.parse_args()\n"
        "    with reprokit.run('script'):\n"
        "        pass\n"
        "main()\n"
    )
    command = [sys.executable, "train.py", "--lr", "0.5", "--api-key", "hunter2"]
    subprocess.run(command, cwd=project, env={**os.environ, "REPROKIT_LOCK": "never"}, check=True, timeout=120)
    store = Store.open(project)
    run = store.load(store.resolve("script"))
    assert values_of(run) == {"lr": 0.5, "api_key": "[redacted]"}
    assert run.config is not None
    assert run.config.sources["lr"] == "argparse options"


HYDRA = """
from hydra import compose, initialize_config_dir
import os
with initialize_config_dir(os.path.abspath('conf'), version_base=None):
    cfg = compose('main', overrides=['lr=0.5', 'db.password=hunter2'])
"""


def test_a_hydra_configuration_in_a_notebook(project: Path) -> None:
    (project / "conf/db").mkdir(parents=True)
    (project / "conf/main.yaml").write_text(
        "defaults:\n  - db: local\nlr: 0.1\ntwice: ${lr}\nhome: ${oc.env:REPROKIT_TRY}\nat: ${db.user}@${db.host}\n"
    )
    (project / "conf/db/local.yaml").write_text(
        "user: me\nhost: here\npassword: x\nalso: ${.user}\nagain: ${.password}\n"
    )
    run = captured(project, HYDRA, "cfg.lr = 0.7", environ={"REPROKIT_TRY": "hunter2"})
    assert run.config is not None
    found = {key: item for key, item in run.config.values.items() if run.config.sources[key] == "omegaconf cfg"}
    bare = {key.partition(":")[2] or key: item for key, item in found.items()}
    assert bare == {
        "lr": 0.7,
        "twice": 0.7,
        "home": "${oc.env:REPROKIT_TRY}",
        "at": "me@here",
        "db.user": "me",
        "db.host": "here",
        "db.password": "[redacted]",
        "db.also": "me",
        "db.again": "${.password}",
    }
    assert "hunter2" not in json.dumps(run.config.to_dict())
    assert {"conf/main.yaml", "conf/db/local.yaml"} <= set(run.config.sources.values())


HYDRA_JOB = """
import hydra, reprokit
@hydra.main(config_path="conf", config_name="main", version_base=None)
def main(cfg):
    with reprokit.run("job"):
        pass
main()
"""


def test_a_hydra_job_names_its_overrides(project: Path) -> None:
    (project / "conf").mkdir()
    (project / "conf/main.yaml").write_text("lr: 0.1\nkey: 1\n")
    (project / "job.py").write_text(HYDRA_JOB)
    command = [sys.executable, "job.py", "lr=0.5", "+api_key=hunter2"]
    subprocess.run(command, cwd=project, env={**os.environ, "REPROKIT_LOCK": "never"}, check=True, timeout=120)
    store = Store.open(project)
    run = store.load(store.resolve("job"))
    values = values_of(run)
    assert values["lr"] == 0.5
    assert values["hydra.overrides.lr"] == "0.5"
    assert values["hydra.config"] == "main"
    assert run.config is not None
    assert "hunter2" not in json.dumps(run.config.to_dict())


def test_a_replay_finds_the_same_configuration(project: Path) -> None:
    (project / "a.json").write_text('{"lr": 1}')
    first = captured(project, "import json, argparse\nc = json.load(open('a.json'))\nargs = argparse.Namespace(x=1)")
    command = [sys.executable, str(RECORDED), "replay", str(project.parent / "cells.json")]
    environ = {**os.environ, "REPROKIT_LOCK": "never"}
    done = subprocess.run(command, cwd=project, env=environ, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    store = Store.open(project)
    (second,) = (store.load(one.id) for one in store.runs() if one.id != first.id)
    assert second.config == first.config
    assert isinstance(first.config, Config)


# -- parts --------------------------------------------------------------------------------------------


class Loud:
    """An object whose own methods must not be called."""

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __str__
    __eq__ = __hash__ = None  # type: ignore[assignment]


def test_foreign_objects_among_options_are_named_by_their_type_alone() -> None:
    space = argparse.Namespace(path=Path("a/b"), odd=Loud(), deep=[(1, Loud())], name="x")
    source, values = options.read("args", space)
    assert source == "argparse args"
    loud = f"<{__name__}.Loud>"
    assert values == {"path": "a/b", "odd": loud, "deep": [[1, loud]], "name": "x"}


def test_a_subclass_is_not_looked_into() -> None:
    class Mine(argparse.Namespace):
        pass

    assert options.token(Mine(a=1)) is None
    assert options.token(argparse.Namespace(a=1)) is not None
    assert options.token({"a": 1}) is None


def test_a_new_value_is_another_token() -> None:
    space = argparse.Namespace(a="x")
    before = options.token(space)
    assert options.token(space) == before
    space.a = "y"
    assert options.token(space) != before


def test_options_that_are_made_or_go_are_noticed() -> None:
    first = options.alive()
    held = [argparse.Namespace(a=1)]
    assert options.alive() != first
    held.clear()
    assert options.alive() == first


def test_options_that_were_made_long_before_they_got_a_name_are_found(project: Path) -> None:
    cells = ["import argparse\nheld = [argparse.Namespace(n=1)]", *["pass"] * 16, "args = held[0]", *["pass"] * 16]
    assert values_of(captured(project, *cells)) == {"n": 1}


def test_references_that_lead_nowhere_or_in_circles_stay_as_written() -> None:
    config = OmegaConf.create(
        {"a": "${b}", "b": "${a}", "c": "${absent.key}", "d": "x${e[1]}", "e": [1, 2], "f": "???"}
    )
    _, values = options.read("cfg", config)
    assert values["c"] == "${absent.key}"
    assert values["d"] == "x2"
    assert values["f"] == "???"
    assert values["a"] in ("${a}", "${b}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"lr": 0.1, "layers": [64, 64]}, True),
        ({"stages": [{"name": "a"}, {"name": "b"}]}, True),
        ({}, False),
        ("text", False),
        ([1, 2], False),
        ({"nbformat": 4, "cells": []}, False),
        ({"text": "x" * 5000}, False),
        ({"rows": [{"a": n} for n in range(500)]}, False),
    ],
)
def test_what_looks_like_configuration(content: Any, expected: bool) -> None:
    assert looks_like_configuration(content) is expected
