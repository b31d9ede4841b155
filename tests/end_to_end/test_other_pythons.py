"""Sessions under other Pythons, with other packages, replayed from this one after their environment is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin
from workbench import Bench, kernel_of, session, uv

# Where the user who runs the tests has Pythons; inside a test HOME is an empty folder.
PYENV = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
OF_UV = os.environ.get("UV_PYTHON_INSTALL_DIR") or str(Path.home() / ".local" / "share" / "uv" / "python")

# Each with packages of its time.
PACKAGES = {
    "3.10": ("numpy==1.24.4", "pandas==1.5.3"),
    "3.12": ("numpy==1.26.4", "pandas==2.1.4"),
    "3.13": ("numpy==2.1.3", "pandas==2.2.3"),
}

SESSION = [
    "%repro start",
    "import platform, random\nimport numpy as np\nimport pandas as pd\n"
    "print(platform.python_version(), np.__version__, pd.__version__)",
    "rng = np.random.default_rng()\nprint(random.random(), np.random.rand(2), rng.normal(size=2))",
    "table = pd.read_csv('prices.csv')\ntable['noise'] = rng.random(len(table))\ntable.sample(3)",
    "print({str(n) for n in range(12)})\nprint(random.sample(range(100), 5), table.describe())",
    "table.groupby('kind').noise.mean().to_csv('means.csv')\nprint(open('means.csv').read())",
    "%repro stop",
]


def interpreter(version: str) -> str:
    """Return a Python of that X.Y, as a replay would look for one; skip where there is none."""
    found = sorted(Path(PYENV).glob(f"versions/{version}.*/bin/python"))
    if found:
        return str(found[-1])
    command = [find_uv_bin(), "python", "find", "--quiet", "--no-project", "--system", "--no-python-downloads", version]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"Python {version} is not on this machine: uv python install {version}")
    return done.stdout.strip()


# The oldest that is supported and the newest; what lies between them is a soak.
@pytest.mark.parametrize("version", ["3.10", pytest.param("3.12", marks=pytest.mark.soak), "3.13"])
def test_a_session_of_another_python_comes_back(
    version: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYENV_ROOT", PYENV)
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", OF_UV)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    python = tmp_path / "recorded" / "bin" / "python"
    uv("venv", "--quiet", "--no-project", "--python", interpreter(version), tmp_path / "recorded")
    uv("pip", "install", "--quiet", "--python", python, "ipykernel", *PACKAGES[version])
    kernel_of(python, tmp_path / "jupyter" / "kernels" / "recorded")
    rows = (f"{number},{'ab'[number % 2]}\n" for number in range(20))
    (bench.project / "prices.csv").write_text("price,kind\n" + "".join(rows))
    bench.commit()

    session(bench, "recorded", SESSION)
    told = json.loads(bench.reprokit("env", "latest", "--json"))  # locks it, as the background process does
    assert told["python"].startswith(f"{version}.")
    assert [gap for gap in told["gaps"] if gap["blocks"]] == []
    versions = {package["name"]: package["version"] for package in told["packages"]}
    assert {f"{name}=={versions[name]}" for name in ("numpy", "pandas")} == set(PACKAGES[version])
    shutil.rmtree(tmp_path / "recorded")
    (bench.project / "prices.csv").write_text("price,kind\n1,a\n")

    verdict = bench.verdict("latest")
    assert verdict["verdict"] == "identical", json.dumps(verdict, indent=1)
    replayed = json.loads(bench.reprokit("show", verdict["replay"], "--json"))
    assert replayed["environment"]["python"] == told["python"]
    assert replayed["environment"]["fingerprint"] == told["fingerprint"]
