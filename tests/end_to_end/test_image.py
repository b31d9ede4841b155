"""The exported description of an image is carried out, line by line, and its containers give what the session gave.

There is no builder of images here: each instruction is done as its documentation says, in a root of its own over this
machine's system, which stands for the base image: Python and pip are in a fresh environment, and the project, its
repository and all that is installed for tests are out of sight.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
from workbench import REPOSITORY

UV = Path(sys.executable).with_name("uv")
PARSER = REPOSITORY / "build" / "orchestrators" / "tools" / "bin" / "python"
CELLS = {
    "prepare": "rows = [int(line) * 2 for line in open('data.txt')]\nopen('out/rows.txt', 'w').write(str(rows))",
    "train": "rows = eval(open('out/rows.txt').read())\nopen('out/model.txt', 'w').write(str(sum(rows)))",
    "evaluate": "import pathlib, sys, yaml\nscore = int(pathlib.Path('out/model.txt').read_text()) / 3\n"
    "open('out/score.yaml', 'w').write(yaml.safe_dump({'score': score, 'python': sys.version}))",
}
PARSED = """
import json, sys
from dockerfile_parse import DockerfileParser
print(json.dumps([[one["instruction"], one["value"]] for one in DockerfileParser(path=sys.argv[1]).structure]))
"""
BUILDERS_OWN = ("PIP_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

pytestmark = [
    pytest.mark.orchestrators,
    pytest.mark.timeout(1800),  # what was locked is downloaded and installed, twice
    pytest.mark.skipif(not PARSER.exists(), reason="make test-orchestrators installs a parser"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to mount"),
]


def done(*command: object, cwd: Path, environ: Mapping[str, str]) -> str:
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=cwd, env=dict(environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{words[:3]} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The variables of a user with an empty HOME."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPROKIT_", "GIT_", "XDG_"))}
    author = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **author, "HOME": str(tmp_path / "home"), "REPROKIT_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def project(tmp_path: Path, environ: Mapping[str, str]) -> Path:
    """Three notebooks captured in an environment that has reprokit and no more, exported, and what they made gone."""
    folder, home = tmp_path / "project", tmp_path / "environment"
    (folder / "out").mkdir(parents=True)
    (folder / "data.txt").write_text("1\n2\n3\n")
    (folder / ".gitignore").write_text("out/\n")
    for name, source in CELLS.items():
        cells = [nbformat.v4.new_code_cell(source, id=name)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "start"]):
        done("git", *words, cwd=folder, environ=environ)
    locked = ("--constraint", REPOSITORY / "requirements-dev.txt")
    done(UV, "venv", "--python", sys.executable, home, cwd=folder, environ=environ)
    done(UV, "pip", "install", "--python", home / "bin/python", *locked, REPOSITORY, cwd=folder, environ=environ)
    for name in CELLS:
        done(home / "bin/reprokit", "run", f"{name}.ipynb", cwd=folder, environ={**environ, "REPROKIT_LOCK": "never"})
    notebooks = [f"{name}.ipynb" for name in CELLS]
    done(home / "bin/reprokit", "export", *notebooks, "--to", "docker", "-o", "image", cwd=folder, environ=environ)
    return folder


def instructions(project: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    printed = done(PARSER, "-c", PARSED, project / "image" / "Dockerfile", cwd=project, environ=environ)
    return [(word, value) for word, value in json.loads(printed)]


def steps(text: str) -> list[str]:
    """Return what the comments say a container is started with."""
    return [line.split()[-1] for line in text.splitlines() if ": docker run IMAGE " in line]


def lines_of(
    found: list[tuple[str, str]], given: list[str], context: Path, environ: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of a shell that build the image and then run a container a step; ``$ROOT`` is its root."""
    variables = {name: value for name, value in environ.items() if name.startswith(BUILDERS_OWN)}
    variables |= {"PATH": "/opt/python/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    here = "/"

    def inside(command: str) -> str:
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in variables.items())
        return f"chroot $ROOT env -i {words} sh -ec {shlex.quote(f'cd {here}; {command}')}"

    for word, value in found:
        if word == "ENV":
            name, _, quoted = value.partition("=")
            variables[name] = json.loads(quoted)
        elif word == "WORKDIR":
            here = value
            yield f"mkdir -p $ROOT{here}"
        elif word == "COPY":
            *sources, target = value.split()
            whole = [f"{context}/{one}/." if (context / one).is_dir() else f"{context}/{one}" for one in sources]
            yield f"mkdir -p $ROOT{here}/{target} && cp -r {' '.join(whole)} $ROOT{here}/{target}"
        elif word == "RUN":
            yield inside(value)
        elif word == "ENTRYPOINT":
            yield f"mkdir -p $ROOT{here}/out"
            yield from (inside(shlex.join([*json.loads(value), one])) for one in given)
        else:
            assert word in ("FROM", "COMMENT"), word


MOUNTED = """set -eu
mkdir -p {place}/root
mount -t tmpfs -o mode=755 none {place}/root
mkdir {place}/root/upper {place}/root/work {place}/root/root
ROOT={place}/root/root
mount -t overlay -o lowerdir=/,upperdir={place}/root/upper,workdir={place}/root/work none $ROOT
for hidden in {hidden}; do mkdir -p $ROOT$hidden; mount -t tmpfs -o mode=1777 none $ROOT$hidden; done
for folder in dev proc sys; do mount --rbind /$folder $ROOT/$folder; done
chroot $ROOT {python} -m venv --copies /opt/python
{lines}
cp -r $ROOT/work/out {place}/made
cp {place}/wrong.txt $ROOT/opt
exec > {place}/said 2>&1
! chroot $ROOT /opt/python/bin/pip install --force-reinstall --no-deps --require-hashes -r /opt/wrong.txt
"""


def test_the_image_builds_and_its_containers_give_what_the_session_gave(
    project: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    session = {path.name: path.read_bytes() for path in (project / "out").iterdir()}
    assert len(session) == len(CELLS)
    found = instructions(project, environ)
    text = (project / "image" / "Dockerfile").read_text()
    ignored = (project / "image" / "Dockerfile.dockerignore").read_text().split()
    context = tmp_path / "context"
    shutil.copytree(
        project, context, ignore=shutil.ignore_patterns("out", *(one.rpartition("/")[2] for one in ignored))
    )
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    click = re.search(r"^click==(?:.*\\\n)*.*\n", (project / "image" / "requirements.txt").read_text(), re.MULTILINE)
    assert click is not None
    (tmp_path / "wrong.txt").write_text(re.sub(r"sha256:\w+", f"sha256:{0:064}", click[0]))
    hidden = " ".join(dict.fromkeys(["/work", "/tmp", str(REPOSITORY)]))
    lines = "\n".join(lines_of(found, steps(text), context, environ))
    script = MOUNTED.format(place=tmp_path, hidden=hidden, python=base, lines=lines)
    done("unshare", "--mount", "bash", "-c", script, cwd=tmp_path, environ=environ)
    assert {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()} == session
    assert "DO NOT MATCH THE HASHES" in (tmp_path / "said").read_text(), "of another file of the same name"
