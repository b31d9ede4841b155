"""Every rule: what it finds, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reprokit.errors import UsageError
from reprokit.lint import RULES, Finding, check

KERNEL = {"kernelspec": {"name": "python3", "language": "python"}}


def notebook(path: Path, *cells: str, counts: Sequence[int | None] = (), metadata: Any = KERNEL) -> Path:
    """Write a notebook of code cells, run from top to bottom if ``counts`` do not say otherwise."""
    numbers = list(counts) or range(1, len(cells) + 1)
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": metadata,
        "cells": [
            {"cell_type": "code", "source": source, "execution_count": count, "outputs": [], "metadata": {}}
            for source, count in zip(cells, numbers, strict=True)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def found(folder: Path, *cells: str, **options: Any) -> list[Finding]:
    """Return what is found in a notebook of these cells."""
    return check(notebook(folder / "a.ipynb", *cells, **options), folder)


def codes(folder: Path, *cells: str, **options: Any) -> list[tuple[str, int, int]]:
    """Return code, cell and line of each finding."""
    return [(one.code, one.cell, one.line) for one in found(folder, *cells, **options)]


# Cells → the findings: code, cell, line.
FOUND: dict[str, tuple[list[str], list[tuple[str, int, int]]]] = {
    "a name defined below": (["y = x + 1", "x = 1"], [("S103", 1, 1)]),
    "an import below": (["a = np.ones(3)", "import numpy as np"], [("S103", 1, 1)]),
    "a name defined nowhere": (["print(ghost)"], [("S104", 1, 1)]),
    "a name defined nowhere, in a function": (["def f():\n    return ghost"], [("S104", 1, 2)]),
    "told once": (["print(ghost)", "print(ghost)"], [("S104", 1, 1)]),
    "in a class body": (["class A:\n    x = ghost"], [("S104", 1, 2)]),
    "in a comprehension": (["[a + ghost for a in range(3)]"], [("S104", 1, 1)]),
    "defined by %%timeit alone": (["%%timeit\nx = 1", "print(x)"], [("S104", 2, 1)]),
    "in a magic line": (["%time y = ghost"], [("S104", 1, 1)]),
    "a cell that cannot be run twice": (["df = 1", "df = df + 1"], [("S105", 2, 1)]),
    "counting up": (["n = 0", "n += 1"], [("S105", 2, 1)]),
    "random": (["import random\nrandom.random()"], [("R201", 1, 2)]),
    "numpy": (["import numpy as np\nnp.random.rand(3)"], [("R201", 1, 2)]),
    "default_rng": (["from numpy.random import default_rng\nrng = default_rng()"], [("R201", 1, 2)]),
    "sklearn": (["from sklearn.model_selection import train_test_split as t\nt([1])"], [("R201", 1, 2)]),
    "a shuffled KFold": (["from sklearn.model_selection import KFold\nKFold(shuffle=True)"], [("R201", 1, 2)]),
    "pandas": (["import pandas as pd\ndf = pd.DataFrame()", "df.sample(frac=1)"], [("R201", 2, 1)]),
    "scipy": (["from scipy import stats\nstats.norm.rvs(size=3)"], [("R201", 1, 2)]),
    "torch": (["import torch\ntorch.randn(3)"], [("R201", 1, 2)]),
    "seeded too late": (["import random\nrandom.random()", "random.seed(1)"], [("R201", 1, 2)]),
    "seeded with nothing": (["import random\nrandom.seed()\nrandom.random()"], [("R201", 1, 3)]),
    "a pool": (
        [
            "import random\nfrom multiprocessing import Pool\nrandom.seed(1)",
            "def f(x):\n    return random.random()",
            "with Pool() as p:\n    print(p.map(f, [1]))",
        ],
        [("R202", 3, 2)],
    ),
    "joblib, through another function": (
        [
            "import numpy as np\nfrom joblib import Parallel, delayed\nnp.random.seed(1)",
            "def g():\n    return np.random.rand()\ndef f(x):\n    return g()",
            "Parallel(n_jobs=2)(delayed(f)(i) for i in range(3))",
        ],
        [("R202", 3, 1)],
    ),
    "DataLoader": (
        ["from torch.utils.data import DataLoader\nDataLoader([1], num_workers=4)"],
        [("R202", 1, 2)],
    ),
    "uuid": (["import uuid\nuuid.uuid4()"], [("R203", 1, 2)]),
    "secrets": (["import secrets\nsecrets.token_hex()"], [("R203", 1, 2)]),
    "a home folder": (["path = '/home/me/x.csv'"], [("P301", 1, 1)]),
    "a drive": ([r"path = 'C:\\data\\x.csv'"], [("P301", 1, 1)]),
    "an absolute path to a reader": (["import pandas as pd\npd.read_csv('/data/x.csv')"], [("P301", 1, 2)]),
    "out of the project": (["open('../../x.csv')"], [("P302", 1, 1), ("P303", 1, 1)]),
    "a missing file": (["import pandas as pd\npd.read_csv('absent.csv')"], [("P303", 1, 2)]),
    "a missing file, by pathlib": (
        ["from pathlib import Path\nD = Path('data')", "open(D / 'absent.csv').read()"],
        [("P303", 2, 1)],
    ),
    "chdir": (["import os\nos.chdir('x')"], [("P304", 1, 2)]),
    "%cd": (["%cd x"], [("P304", 1, 1)]),
    "now": (["import datetime as dt\nname = f'run {dt.datetime.now()}'"], [("T401", 1, 2)]),
    "today": (["from datetime import date\ntoday = date.today()"], [("T401", 1, 2)]),
    "pandas' now": (["import pandas as pd\npd.to_datetime('now')"], [("T401", 1, 2)]),
    "time as a value": (["import time\nseed = int(time.time())"], [("T401", 1, 2)]),
    "a URL": (["import pandas as pd\nURL = 'https://a.org/x.csv'", "pd.read_csv(URL)"], [("N501", 2, 1)]),
    "a URL in parts": (["import pandas as pd\npd.read_csv(f'https://a.org/{1}.csv')"], [("N501", 1, 2)]),
    "requests": (["import requests\nrequests.get(input)"], [("N501", 1, 2)]),
    "wget": (["!wget https://a.org/x.csv"], [("N502", 1, 1)]),
    "curl in bash": (["%%bash\necho\ncurl -O https://a.org/x.csv"], [("N502", 1, 3)]),
    "git clone": (["!cd x && git clone https://a.org/x"], [("N502", 1, 1)]),
    "pip": (["!pip install pandas"], [("N503", 1, 1)]),
    "%pip, and a bound": (["%pip install -q 'pandas>=2' numpy==2.0"], [("N503", 1, 1)]),
    "pip without %": (["pip install pandas"], [("N503", 1, 1)]),
    "pip by sys.executable": (["import sys\n!{sys.executable} -m pip install pandas"], [("N503", 1, 2)]),
    "pip from a branch": (["!pip install git+https://github.com/a/b"], [("N503", 1, 1)]),
    "environ": (["import os\nos.environ['HOST']"], [("E601", 1, 2)]),
    "input": (["name = input('who? ')"], [("E602", 1, 1)]),
    "getpass": (["from getpass import getpass\np = getpass()"], [("E602", 1, 2)]),
    "%store -r": (["%store -r x"], [("E603", 1, 1)]),
    "list of a set": (["words = ['a']", "list(set(words))"], [("H701", 2, 1)]),
    "a loop over a set": (["for x in {'a', 'b'}:\n    print(x)"], [("H701", 1, 1)]),
    "join": (["','.join({'a', 'b'})"], [("H701", 1, 1)]),
    "a folder's files": (["import os\nfor name in os.listdir('.'):\n    print(name)"], [("H702", 1, 2)]),
    "a list of a folder's files": (["import os\nparts = [n for n in os.listdir('.')]"], [("H702", 1, 2)]),
    "a folder's files by number": (["from glob import glob\nfirst = glob('*.csv')[0]"], [("H702", 1, 2)]),
    "a folder's files by name": (["import os\nnames = os.listdir('.')", "print(names[0])"], [("H702", 1, 2)]),
    "no Python": (["def broken(:"], [("M902", 1, 0)]),
}

LEFT_ALONE: dict[str, list[str]] = {
    "functions may use what comes later": ["def f():\n    return later", "later = 1", "f()"],
    "a try that expects it": ["try:\n    x\nexcept NameError:\n    x = 1"],
    "what IPython gives": ["display(In, Out, _, __, _1, _i2, get_ipython())", "exit"],
    "import *": ["from numpy import *", "a = array([1])"],
    "%run": ["%run setup.py", "use(it)"],
    "%pylab": ["%pylab inline", "plot([1])"],
    "exec and globals": ["globals()['x'] = 1", "print(x)"],
    "a cell magic nobody knows": ["%%sql out\nselect 1", "out.rows"],
    "capture": ["%%capture out\nprint(1)", "out.show()"],
    "%%time": ["%%time\nx = 1", "print(x)"],
    "shell output": ["files = !ls", "print(files)"],
    "bash --out": ["%%bash --out text\nls", "print(text)"],
    "scopes": [
        "def f(a, *b, c=1, **d):\n    global made\n    made = [a, b, c, d]\n    e = lambda x: x + a\n"
        "    def g():\n        nonlocal e\n        return e, f\n    return g",
        "print(made)",
        "class A:\n    x = 1\n    y = x + 1\n    def m(self):\n        return __class__, A, self.x",
        "[(i, j) for i in range(3) for j in range(i) if (k := i)]\nprint(k)",
        "{n: m for n, m in zip('ab', 'cd')}",
        "import os.path as p, sys\nprint(p, sys)",
        "with open(p.__file__) as handle:\n    pass\nfor q, (r, s) in []:\n    print(q, r, s)",
        "match sys.argv:\n    case [first, *rest]:\n        print(first, rest)",
        "match sys.argv:\n    case {'a': v, **others}:\n        print(v, others)",
        "try:\n    pass\nexcept ValueError as error:\n    print(error)",
        "async def h():\n    async for z in h():\n        yield z",
        "lines: list[int] = []\nlines += [1]\ndel lines",
    ],
    "a new name for the result": ["df = 1", "clean = df + 1"],
    "made and changed in one cell": ["df = 1\ndf = df + 1"],
    "a loop's variable": ["for i in range(3):\n    pass", "for i in range(3):\n    i = i + 1"],
    "seeded": [
        "import random, numpy as np\nfrom sklearn.model_selection import train_test_split\n"
        "random.seed(1)\nnp.random.seed(1)",
        "random.random()\nnp.random.rand()\ntrain_test_split([1])\nnp.random.default_rng(1).random()",
    ],
    "random_state": ["from sklearn.cluster import KMeans\nKMeans(3, random_state=0)\nKMeans(**{})"],
    "other samples": ["model = max", "model.sample(3)\nmodel.sample(frac=1, random_state=1)"],
    "a variable called random": ["import numpy as np\nrandom = np.random.RandomState(0)", "random.rand(3)"],
    "no shuffle": [
        "from sklearn.model_selection import KFold, train_test_split\nKFold(3)\ntrain_test_split([1], shuffle=False)"
    ],
    "a worker that is seeded": [
        "import numpy as np\nfrom multiprocessing import Pool",
        "def f(seed):\n    return np.random.default_rng(seed).random()",
        "with Pool() as p:\n    p.map(f, [1])",
    ],
    "a map of pandas": ["import numpy as np\nimport pandas as pd\nnp.random.seed(1)",
                        "def f(x):\n    return np.random.rand()", "pd.Series([1]).map(f)"],
    "paths that are none": [
        "from pathlib import Path",
        "'''/home/me is where I was'''\nprint('/home/me')\nroute = '/users/<id>'\nPath('/dev/null')\nx = '/home'",
    ],
    "a file that is there": ["open('here.csv')"],
    "a file that is made": [
        "import pandas as pd\nimport numpy as np\npd.DataFrame().to_csv('made.csv')\nnp.save('array', 1)",
        "pd.read_csv('made.csv')\nnp.load('array.npy')",
        "%%writefile own.txt\nx",
        "open('own.txt')\nopen('new.txt', 'w')\nopen('new.txt')",
    ],
    "a file that is fetched": ["# reprokit: ignore[N502]\n!wget https://a.org/x.csv", "open('x.csv')"],
    "timing": [
        "import time\nfrom datetime import datetime\nstart = time.time()\nbegan = datetime.now()",
        "print(time.time() - start, datetime.now() - began)",
        "time.sleep(1)\ntime.strftime('%Y', time.gmtime(0))\ntime.perf_counter()",
    ],
    "addresses that name a version": [
        "import pandas as pd\npd.read_csv('https://raw.githubusercontent.com/a/b/" + "0" * 40 + "/x.csv')",
        "import requests\nrequests.get('http://localhost:8000')\nrequests.post(requests)",
    ],
    "pinned": [
        "!pip install pandas==2.0 'numpy==1.26' ./own.whl -r requirements.txt -e .",
        "%pip install git+https://github.com/a/b@v1.0\n!pip list\n!pip install --upgrade 'x==1'",
        "%%bash\n# pip install pandas\necho done",
    ],
    "environ with a default": [
        "import os\nos.environ.get('A')\nos.getenv('B')\nos.environ['C'] = '1'\nos.environ['C']"
    ],
    "own input": ["def input(x):\n    return 1", "input(1)"],
    "sets whose order is nothing": [
        "words = ['a']\nsorted(set(words))\nlen({'a', 'b'})\nlist({1, 2})\n'a' in set(words)\nsorted(list(set(words)))",
        "list(set(range(3)) - {1})",
    ],
    "sorted listings": [
        "import os, glob\nx = '.'\nfor name in sorted(os.listdir('.')):\n    print(name)\nlen(glob.glob('*'))",
        "glob.glob(os.path.join(x, '**/a.csv'))[0]",
        "sorted(name for name in os.listdir('.') if name)\nparts = [name for name in os.listdir('.')]\nparts.sort()",
        "names = os.listdir('.')\nnames.sort()\nothers = glob.glob('*')\nprint(sorted(others))\n'a' in os.listdir('.')",
    ],
    "help and empty cells": ["?len", "len?", "", "# only a comment", "%matplotlib inline", "await_ = 1"],
    "await": ["import asyncio\nawait asyncio.sleep(0)"],
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_it_is_found(case: str, tmp_path: Path) -> None:
    cells, expected = FOUND[case]
    assert codes(tmp_path, *cells) == expected


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_it_is_left_alone(case: str, tmp_path: Path) -> None:
    (tmp_path / "here.csv").touch()
    assert codes(tmp_path, *LEFT_ALONE[case]) == []


def test_every_rule_is_tried() -> None:
    tried = {code for _, expected in FOUND.values() for code, _, _ in expected}
    assert tried | {"S101", "S102", "M901"} == set(RULES)


def test_every_finding_says_what_to_do(tmp_path: Path) -> None:
    for cells, _ in FOUND.values():
        for one in found(tmp_path, *cells):
            assert one.message
            assert one.remedy
            assert one.severity in ("warning", "info")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 2, 3], []),
        ([None, None, None], []),
        ([1, None, 2], []),
        ([1, 3, 2], [("S101", 3, 0)]),
        ([1, 2, 2], [("S101", 3, 0)]),
        ([5, 6, 7], [("S102", 0, 0)]),
        ([1, 2, 9], [("S102", 0, 0)]),
    ],
)
def test_the_order_of_executions(
    counts: list[int | None], expected: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    assert codes(tmp_path, "a = 1", "b = 2", "c = 3", counts=counts) == expected


def test_places_out_of_order_are_told_once(tmp_path: Path) -> None:
    (one,) = found(tmp_path, "a = 1", "b = 2", "c = 3", "d = 4", counts=[4, 3, 2, 1])
    assert one.message == "this cell was run as [3], the one above it as [4], and 2 more such places"


def test_a_notebook_without_a_word_on_its_kernel(tmp_path: Path) -> None:
    assert codes(tmp_path, "a = 1", metadata={}) == [("M901", 0, 0)]


def test_unseeded_numbers_are_told_once_with_all_cells(tmp_path: Path) -> None:
    cells = ["import numpy as np", *["np.random.rand()"] * 3, "1", "np.random.rand()"]
    (one,) = found(tmp_path, *cells)
    assert one.message == "numpy.random.rand draws from numpy without a seed (and in cells 3–4, 6)"


@pytest.mark.parametrize(
    "cell",
    [
        "print(ghost)  # reprokit: ignore[S104]",
        "print(ghost)  # reprokit: ignore",
        "print(ghost)  # reprokit: ignore[P301, S104]",
        "# reprokit: ignore[S104]\n\nprint(ghost)",
    ],
)
def test_a_comment_passes_over_a_finding(cell: str, tmp_path: Path) -> None:
    assert codes(tmp_path, cell) == []


@pytest.mark.parametrize("cell", ["print(ghost)  # reprokit: ignore[P301]", "x = 1  # reprokit: ignore\nprint(ghost)"])
def test_a_comment_for_something_else_does_not(cell: str, tmp_path: Path) -> None:
    assert [code for code, _, _ in codes(tmp_path, cell)] == ["S104"]


def test_a_script_with_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("# %% [markdown]\n# Text that is (no Python\n\n# %%\nx = 1\n\n# %%\nprint(x, ghost)  # here\n")
    assert [(one.code, one.cell, one.line) for one in check(path, tmp_path)] == [("S104", 2, 8)]
    path.write_text("import uuid\n\nx = uuid.uuid4()  # reprokit: ignore\ny = uuid.uuid4()\nprint(__file__)\n")
    assert [(one.code, one.line) for one in check(path, tmp_path)] == [("R203", 4)]


def test_notebooks_of_the_oldest_format(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cells = [{"cell_type": "code", "input": ["print(", "ghost)"], "prompt_number": 1}]
    path.write_text(json.dumps({"nbformat": 3, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}))
    assert [one.code for one in check(path, tmp_path)] == ["M901", "S104"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ipynb", b"{"),
        ("a.ipynb", b"[]"),
        ("a.ipynb", b'{"cells": [1]}'),
        ("a.ipynb", b'{"nbformat": 4}'),
        ("a.ipynb", b"\xff\xfe"),
        ("a.ipynb", b'{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}'),
        ("a.py", b"\xff"),
        ("absent.py", None),
    ],
)
def test_what_cannot_be_checked_is_told(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as told:
        check(tmp_path / name, tmp_path)
    assert name in str(told.value)
    assert told.value.remedy


@pytest.mark.parametrize(
    "cell",
    [
        "\x00",
        "x = (" * 300,
        "%%",
        "!",
        "%",
        "?",
        "\\",
        "'''",
        "a = !",
        "%%bash",
        "%time",
        "\t\tx",
        "0xz",
        "f'{'",
        "é" * 9,
    ],
)
def test_odd_cells_are_told_and_never_a_crash(cell: str, tmp_path: Path) -> None:
    assert {code for code, _, _ in codes(tmp_path, cell, "x = 1")} <= {"M902", "S103", "S104"}


def test_nothing_of_a_notebook_is_run(tmp_path: Path) -> None:
    target = tmp_path / "harmed"
    cells = [
        f"open({str(target)!r}, 'w')",
        f"!touch {target}",
        f"%%bash\ntouch {target}",
        f"x = __import__('os').mkdir({str(target)!r})",
    ]
    found(tmp_path, *cells)
    assert not target.exists()
