"""What a cell follows from, and which statement of that is suspected first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reprokit.records import Cell, Config, Distribution, Environment, FileUse, Library, Machine, Run
from reprokit.replay.compare import compare
from reprokit.replay.lineage import lineage
from reprokit.replay.suspects import Grounds, hashes_vary, is_closed, nearest, processors_differ, threads_differ


def cells(*sources: str, **fields: Any) -> list[Cell]:
    return [Cell(seq=number, source=source, status="done", **fields) for number, source in enumerate(sources, start=1)]


def followed(*sources: str) -> list[str]:
    return [link.statement.text for link in lineage(cells(*sources)).links]


def test_names_are_followed_back_to_where_they_were_made() -> None:
    assert followed("a = f()\nb = g()", "c = a", "print(c)") == ["print(c)", "c = a", "a = f()"]
    assert followed("x = f()", "x = 1", "print(x)") == ["print(x)", "x = 1"]
    assert followed("x = []", "x.append(f())", "print(x)") == ["print(x)", "x.append(f())", "x = []"]


@pytest.mark.parametrize(
    "statement",
    [
        "if c:\n    x = 1",
        "for x in []:\n    pass",
        "while c:\n    x = 1",
        "try:\n    x = int(c)\nexcept ValueError:\n    pass",
        "c and (x := 1)",
        "match c:\n    case 1:\n        x = 1",
    ],
)
def test_what_may_leave_a_name_as_it_is_hides_nothing(statement: str) -> None:
    assert [text.splitlines()[0] for text in followed("x = f()", statement, "print(x)")] == [
        "print(x)",
        statement.splitlines()[0],
        "x = f()",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "if c:\n    x = 1\nelse:\n    x = 2",
        "with c as x:\n    pass",
        "try:\n    x = 1\nexcept E:\n    x = 2",
        "try:\n    pass\nfinally:\n    x = 1",
        "x: int = 1",
        "(a, x), b = c",
        "def x():\n    pass",
    ],
)
def test_what_gives_a_name_another_value_in_any_case_ends_the_search(statement: str) -> None:
    assert "x = f()" not in followed("x = f()", statement, "print(x)")


def test_a_module_is_not_changed_by_what_is_called_in_its_name() -> None:
    assert followed("import numpy as np", "np.zeros(3)", "print(np.pi)") == ["print(np.pi)", "import numpy as np"]


def test_what_is_defined_counts_where_it_is_used() -> None:
    found = lineage(cells("import time\ndef now():\n    return time.time()", "x = 1", "print(now())"))
    assert {link.statement.text.splitlines()[0]: link.depth for link in found.links} == {
        "print(now())": 0,
        "def now():": 0,
        "import time": 0,
    }


def test_files_of_the_runs_own_are_followed_too() -> None:
    written = FileUse(path="x.csv", access="write")
    read = FileUse(path="x.csv", access="read", own=True)
    writer, reader = Cell(seq=1, source="save(f())", writes=(written,)), Cell(seq=2, source="load()", reads=(read,))
    found = lineage([writer, reader])
    assert [link.position for link in found.links] == [1, 0]


@pytest.mark.parametrize(
    ("sources", "free"),
    [
        (("print(x)",), {"x": 0}),
        (("y = x", "print(y)"), {"x": 1}),
        (("def f():\n    return x", "print(f())"), {"x": 0}),
        (("with open('a') as s:\n    print(s)",), {}),
        (("for i in range(3):\n    print(i)",), {}),
        (("%run setup.py", "print(x)"), {}),
        (("from numpy import *", "print(pi)"), {}),
        (("display(_)", "print(__name__)"), {}),
    ],
)
def test_names_that_no_cell_made(sources: Sequence[str], free: dict[str, int]) -> None:
    assert lineage(cells(*sources)).free == free


@pytest.mark.parametrize(
    ("sources", "closed"),
    [
        (("x = [1, 2]", "y = [n for n in x if n > 1]\nprint(y)"), True),
        (("x = 'a b'.split()", "print(sorted(x))"), True),
        (("x = {'a', 'b'}", "print(x)"), False),
        (("x = open('a').read()", "print(x)"), False),
        (("import os", "print(os.sep)"), False),
        (("print(x)",), False),
        (("def sum(x):\n    return id(x)", "print(sum([1]))"), False),
    ],
)
def test_what_can_give_one_result_only(sources: Sequence[str], closed: bool) -> None:
    assert is_closed(lineage(cells(*sources))) is closed


def suspected(*sources: str, a: Run | None = None, b: Run | None = None, **known: Any) -> str | None:
    made = cells(*sources)
    runs = [run or Run(id="a") for run in (a, b)]
    grounds = Grounds(
        a=runs[0],
        b=runs[1],
        pairs=[(cell, cell) for cell in made],
        environment=known.get("environment", ()),
        changed=known.get("changed"),
    )
    found = nearest(grounds, lineage(made))
    return None if found is None else found.cause


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import time\nprint(time.time())", "time"),
        ("!date +%s", "time"),
        ("import uuid\nprint(uuid.uuid4())", "randomness"),
        ("from numpy.random import default_rng\nprint(default_rng().random())", "randomness"),
        ("import os\nprint(os.environ['MODE'])", "config"),
        ("print(id(3))", "nondeterminism"),
        ("import ipywidgets\nprint(ipywidgets.IntSlider().value)", "hidden-state"),
        ("print(1)", None),
        ("import time\nprint(1)", None),
    ],
)
def test_what_is_asked_for(source: str, cause: str | None) -> None:
    assert suspected(source) == cause


def test_the_nearest_is_suspected() -> None:
    assert suspected("import time, uuid\nx = time.time()", "y = (x, uuid.uuid4())", "print(y)") == "randomness"
    assert suspected("import time, uuid\ny = uuid.uuid4()", "x = time.time()", "print(y)") == "randomness"


@pytest.mark.parametrize(
    ("line", "source", "cause"),
    [
        ("numpy 1.26.4 → 2.1.0", "import numpy as np\nprint(np.pi)", "environment"),
        ("scikit-learn 1 → 2", "from sklearn.svm import SVC\nprint(SVC())", "environment"),
        ("python-dateutil 1 → 2", "import dateutil.parser\nprint(dateutil.parser)", "environment"),
        ("PyYAML 1 → 2", "import yaml\nprint(yaml)", "environment"),
        ("numpy 1.26.4 → 2.1.0", "import numpy as np\nprint(1)\nimport pandas\npandas.show()", None),
        ("acme 1 → absent", "import numpy as np\nprint(np.pi)", None),
    ],
)
def test_packages_count_where_they_are_used(line: str, source: str, cause: str | None) -> None:
    last = source.splitlines()[-1]
    assert suspected(source.removesuffix(last) or "pass", last, environment=(line,)) == cause


@pytest.mark.parametrize(
    ("path", "source", "cause"),
    [
        ("prices.py", "from prices import tax", "code"),
        ("src/shop/rules.py", "from shop import rules", "code"),
        ("shop/__init__.py", "import shop", "code"),
        ("other.py", "from prices import tax", None),
        ("my_setup.py", "%run setup.py", None),
        ("setup.py", "%run setup.py", "code"),
    ],
)
def test_code_counts_where_it_is_used(path: str, source: str, cause: str | None) -> None:
    assert suspected(source, changed=(path,)) == cause


def test_variables_that_were_recorded_are_certain() -> None:
    runs = [Run(id="a", config=Config(values={"env.TZ": zone}, sources={"env.TZ": "environment"})) for zone in "xy"]
    assert suspected("import time\nprint(time.localtime(0))", a=runs[0], b=runs[1]) == "config"
    assert suspected("import time\nprint(time.localtime(0))", a=runs[0], b=runs[0]) == "time"


def machine(**fields: Any) -> Run:
    known = {"system": "Linux", "release": "6", "architecture": "x86_64", "libc": "", "cpu": "c", "cores": 2}
    libraries = fields.pop("libraries", ())
    return Run(id="a", machine=Machine(**{**known, "memory": None, "hash_seed": "0", **fields}), libraries=libraries)


def blas(**detail: Any) -> tuple[Library, ...]:
    return (Library(name="libopenblas", kind="blas", detail=detail),)


def test_what_differs_in_two_processes() -> None:
    plain = machine()
    assert hashes_vary(plain, machine(hash_seed="1"))
    assert not hashes_vary(plain, plain)
    assert threads_differ(plain, machine(threads={"OMP_NUM_THREADS": "1"}))
    assert threads_differ(machine(libraries=blas(threads=2)), machine(libraries=blas(threads=4)))
    assert processors_differ(machine(libraries=blas(architecture="A")), machine(libraries=blas(architecture="B")))
    chosen = machine(threads={"OPENBLAS_CORETYPE": "Prescott"})
    assert processors_differ(plain, chosen)
    assert not threads_differ(plain, chosen)
    assert not processors_differ(plain, Run(id="b"))


@pytest.mark.parametrize(("module", "cause"), [("acme", "environment"), ("prices", "code")])
def test_a_module_that_is_gone(module: str, cause: str) -> None:
    source = f"import {module}"
    packages = (Distribution(name="acme", version="1"),)
    python = {"fingerprint": "f", "python": "3.11.4", "implementation": "CPython", "executable": "x", "prefix": "/e"}
    a = Run(id="a", cells=tuple(cells(source)), environments=(Environment(**python, distributions=packages),))
    error = f"ModuleNotFoundError: No module named '{module}'"
    failed = Cell(seq=1, source=source, status="failed", error=error)
    b = Run(id="b", cells=(failed,), environments=(Environment(**python),))
    verdict = compare(a, b, lambda digest: b"", code=("prices.py",))
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.cause == cause
