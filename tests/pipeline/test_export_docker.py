"""What was locked is installed by its hash: in the image, whose containers are steps, and in the jobs of CI systems."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from exporting import PREPARE, TRAIN, same_parameters, shell, work

from reprokit.errors import UsageError
from reprokit.pipeline import export
from reprokit.pipeline.spec import read
from reprokit.records import Distribution, Environment, Gap, Machine
from reprokit.replay.exports import Recorded
from reprokit.replay.lock import Extra, Lock
from reprokit.store.objects import Objects

TOOLS = Path(__file__).resolve().parents[2] / "build" / "orchestrators"
HASH = "sha256:" + "ab" * 32
MACHINE = Machine(
    system="Linux", release="", architecture="x86_64", libc="", cpu="", cores=1, memory=None, hash_seed="random",
    threads={"OMP_NUM_THREADS": "1"},
)  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """An environment of one package of an index, and reprokit, of which there is a wheel."""
    objects = Objects(tmp_path / "objects")
    wheel = objects.put_bytes(b"a wheel")
    own = Extra(
        name="reprokit",
        version="0.1",
        kind="wheel",
        origin="editable",
        digest=wheel,
        filename="reprokit-0.1-py3-none-any.whl",
    )
    lock = Lock(fingerprint="f", python="3.11.7", requirements=f"six==1.16.0 \\\n    --hash={HASH}\n", extras=(own,))
    found = (
        Distribution(name="six", version="1.16.0"),
        Distribution(name="reprokit", version="0.1", origin="editable"),
    )
    environment = Environment(
        fingerprint="f", python="3.11.7", implementation="cpython", executable="/p", prefix="/", distributions=found
    )
    return Recorded(
        lock=lock, environment=environment, objects=objects, name="fit", machine=MACHINE, system=("libgomp1",)
    )


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, those of several lines in one."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def made(recorded: Recorded | None, *stages: Any, **more: Any) -> Any:
    return export.plan(work(*stages, recorded=recorded, **more), "docker")


def test_the_image_has_the_lock_the_project_and_the_step(recorded: Recorded, tmp_path: Path) -> None:
    plan = made(recorded, TRAIN, down="deploy/image")
    found = instructions(plan.texts["Dockerfile"])
    assert found[0] == ("FROM", "python:3.11.7-slim")
    assert ("ENV", 'OMP_NUM_THREADS="1"') in found
    assert ("COPY", "deploy/image/requirements.txt ./") in found
    assert ("COPY", "deploy/image/wheels ./wheels") in found
    installs = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert installs == ["pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt"]
    assert found[-4:-1] == [("WORKDIR", "/work"), ("COPY", ". ."), ("ENTRYPOINT", '["python", "-m", "reprokit.step"]')]
    word, rest = found[-1]
    assert word == "CMD"
    assert same_parameters(read(json.loads(rest)[0]).to_dict(), TRAIN)
    assert ".git\n" in plan.texts["Dockerfile.dockerignore"]
    export.write(plan, recorded.objects, tmp_path / "image")
    assert (tmp_path / "image" / "wheels" / "reprokit-0.1-py3-none-any.whl").read_bytes() == b"a wheel"
    assert export.write(plan, recorded.objects, tmp_path / "image") == []
    assert "six==1.16.0" in (tmp_path / "image" / "requirements.txt").read_text()


def test_of_a_pipeline_the_image_is_told_which_step(recorded: Recorded) -> None:
    text = made(recorded).texts["Dockerfile"]
    assert instructions(text)[-1][0] == "ENTRYPOINT"
    words = [line.split()[-1] for line in text.splitlines() if line.startswith("# ") and ": docker run IMAGE " in line]
    assert [read(word).name for word in words] == ["prepare", "plot", "train", "evaluate"]


def test_the_base_can_be_one_that_never_changes(recorded: Recorded) -> None:
    base = f"python@{HASH}"
    assert instructions(made(recorded, base=base).texts["Dockerfile"])[0] == ("FROM", base)
    assert made(recorded, base=base).notes == (
        "/data/map.csv lies outside of the project: it must be there where the jobs run",
    )
    assert any("python:3.11.7-slim is a name that may move" in note for note in made(recorded).notes)


PARSED = """
import json, sys
from dockerfile_parse import DockerfileParser
found = DockerfileParser(path=sys.argv[1]).structure
print(json.dumps([[one["instruction"], " ".join(one["value"].split())] for one in found]))
"""


@pytest.mark.orchestrators
@pytest.mark.skipif(not TOOLS.exists(), reason="make test-orchestrators installs a parser")
def test_a_parser_of_dockerfiles_reads_the_same(recorded: Recorded, tmp_path: Path) -> None:
    export.write(made(recorded, TRAIN), recorded.objects, tmp_path)
    found = json.loads(shell([TOOLS / "tools/bin/python", "-c", PARSED, tmp_path / "Dockerfile"], tmp_path))
    wanted = instructions((tmp_path / "Dockerfile").read_text())
    assert [tuple(one) for one in found if one[0] != "COMMENT"] == [
        (word, " ".join(rest.split())) for word, rest in wanted
    ]


def test_what_the_image_needs_and_is_not_known_is_refused(recorded: Recorded) -> None:
    with pytest.raises(UsageError, match="--environment RUN"):
        made(None)
    with pytest.raises(UsageError, match="outside of the project"):
        made(recorded, down=None)
    environment = dataclasses.replace(recorded.environment, distributions=recorded.environment.distributions[:1])
    with pytest.raises(UsageError, match="reprokit, which runs the steps"):
        made(dataclasses.replace(recorded, environment=environment), PREPARE)
    gap = Gap(aspect="environment", message="six has no file in its index", blocks=True)
    with pytest.raises(Exception, match="six has no file"):
        made(dataclasses.replace(recorded, lock=dataclasses.replace(recorded.lock, gaps=(gap,))))


@pytest.mark.parametrize("target", ["github", "gitlab", "jenkins"])
def test_a_job_installs_the_lock_that_lies_beside(target: str, recorded: Recorded) -> None:
    plan = export.plan(work(recorded=recorded, install="", down="ci"), target)
    line = "python -m pip install --no-deps --require-hashes --requirement ci/environment/requirements.txt"
    assert line in plan.texts[plan.main]
    assert "reprokit==0.1 \\\n    --hash=sha256:" in plan.texts["environment/requirements.txt"]
    assert list(plan.wheels) == ["environment/wheels/reprokit-0.1-py3-none-any.whl"]
    with pytest.raises(UsageError, match="--environment RUN"):
        export.plan(work(install=""), target)
    assert list(export.plan(work(install="make venv"), target).texts) == [plan.main]
