"""The environment variables of a replay: those that were recorded, and nothing that a file says."""

from __future__ import annotations

from pathlib import Path

from reprokit.records import Config, Gap, Run
from reprokit.replay.plan import Facts, plan
from reprokit.replay.process import variables
from reprokit.store.store import Store


def test_a_configuration_file_cannot_set_variables(project: Path) -> None:
    values = {"env.LANG": "C", "env.PATH": "/evil", "env.LD_PRELOAD": "x.so"}
    sources = {"env.LANG": "environment", "env.PATH": "conf.yaml", "env.LD_PRELOAD": "conf.yaml"}
    given = variables(Store.open(project), Run(id="x", config=Config(values=values, sources=sources)))
    assert given["LANG"] == "C"
    assert not {"PATH", "LD_PRELOAD"} & given.keys()


def test_a_gap_that_was_settled_stops_no_replay() -> None:
    open_gap = Gap(aspect="code", message="a module is not kept", blocks=True)
    settled = Gap(aspect="code", message="another one", blocks=True, settled="stored as a wheel")
    reasons = [reason.why for reason in plan(Run(id="x", gaps=(open_gap, settled)), Facts()).reasons]
    assert "a module is not kept" in reasons
    assert "another one" not in reasons
