"""Real environments to lock and build: made with uv, in folders of the test."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from reprokit.records import Environment
from reprokit.replay.tools import find_uv

ROOT = Path(__file__).parents[2]
_OBSERVE = (
    "import json, sys; sys.path.append(sys.argv[1])\n"
    "from reprokit.capture.environment.environment import observe; print(json.dumps(observe().to_dict()))"
)


def uv(*arguments: object) -> None:
    """Run uv; its output is shown when it fails."""
    command = [find_uv() or "uv", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def make_venv(folder: Path, *arguments: object) -> Path:
    """Make an environment and install into it; return its Python."""
    uv("venv", "-q", "--no-project", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    if arguments:
        install(python, *arguments)
    return python


def install(python: Path, *arguments: object) -> None:
    """Install into an environment."""
    uv("pip", "install", "-q", "--python", python, *arguments)


def observed(python: Path) -> Environment:
    """Return the environment of an interpreter, as the agent inside of it sees it."""
    command = [str(python), "-c", _OBSERVE, str(ROOT)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd="/")
    return Environment.from_dict(json.loads(done.stdout))


def says(python: Path, code: str) -> str:
    """Return what some code prints in an environment."""
    done = subprocess.run([str(python), "-c", code], capture_output=True, check=True, text=True, cwd="/")
    return done.stdout.strip()


def tiny_wheel(folder: Path, version: str, says: str = "tiny") -> Path:
    """Write a wheel of a package ``tiny`` with one module, one command, one script and one data file."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, info = folder / f"tiny-{version}-py3-none-any.whl", f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"WORD = {says!r}\ndef main():\n    print(WORD)\n",
        f"tiny-{version}.data/scripts/tiny-script": "#!python\nimport tiny\nprint('script', tiny.WORD)\n",
        f"tiny-{version}.data/data/share/tiny.txt": "shared\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntiny-command = tiny:main\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        rows = [f"{name},{_hash(text)},{len(text)}\n" for name, text in files.items()]
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return wheel


def any_wheel(folder: Path, name: str, version: str, text: str) -> Path:
    """Write a wheel with one module, ``NAME.py``, that holds a text."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        rows = [f"{path},{_hash(content)},{len(content)}\n" for path, content in files.items()]
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return wheel


def source_archive(folder: Path, name: str, version: str, setup: str) -> Path:
    """Write a source distribution whose build runs ``setup``."""
    folder.mkdir(parents=True, exist_ok=True)
    path, top = folder / f"{name}-{version}.tar.gz", f"{name}-{version}"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": setup,
    }
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{top}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


class Index:
    """A package index in a folder."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.simple = folder / "simple"
        self.files.mkdir(parents=True)

    @property
    def url(self) -> str:
        """Its address."""
        return self.simple.as_uri()

    def publish(self) -> None:
        """Let the index name the files that lie in ``files`` now."""
        shutil.rmtree(self.simple, ignore_errors=True)
        for path in sorted(self.files.iterdir()):
            page = self.simple / path.name.partition("-")[0] / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            with page.open("a") as out:
                out.write(f'<a href="{path.as_uri()}#sha256={digest}">{path.name}</a><br>\n')


def project(folder: Path, says: str = "first") -> Path:
    """Write the source folder of a package ``mine``."""
    (folder / "src" / "mine").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "mine" / "__init__.py").write_text(f"WORD = {says!r}\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "mine"\nversion = "0.1"\n'
    )
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git with a fixed author and without the user's configuration."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *author, *arguments], cwd=folder, env=env, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def _hash(text: str) -> str:
    value = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(value).rstrip(b"=").decode()
