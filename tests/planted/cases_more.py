"""Controls in which nothing differs that counts, two differences at once, and what no record can tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from planting import Case, Place
from worlds import fewer_processors, packages, umask, variables

__all__ = ["CONTROLS", "TWO", "UNTOLD"]

_ORDERS = "day,net\nmon,10\ntue,20\nwed,30\n"
_OTHER = _ORDERS.replace("20", "25")
_HELPER = "def with_tax(net):\n    return net * 1.19\n"


@contextmanager
def _poorer(place: Place, again: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(fewer_processors(place, again))
        stack.enter_context(umask(place, again))
        yield


CONTROLS = (
    Case(
        name="none data was changed since",
        files={"orders.csv": _ORDERS},
        changed={"orders.csv": _OTHER},
        cells=("import pandas as pd\norders = pd.read_csv('orders.csv')", "orders", "print(orders.net.sum())"),
    ),
    Case(
        name="none data that git ignores is gone",
        files={".gitignore": "*.json\n", "model.json": '{"w": [1, 2]}'},
        changed={"model.json": None},
        cells=("import json", "print(sum(json.load(open('model.json'))['w']))"),
    ),
    Case(
        name="none code and configuration were changed since",
        files={"prices.py": _HELPER, "settings.yaml": "rate: 1\n"},
        changed={"prices.py": _HELPER.replace("1.19", "2"), "settings.yaml": "rate: 2\n"},
        cells=(
            "import yaml\nfrom prices import with_tax",
            "print(with_tax(yaml.safe_load(open('settings.yaml'))['rate']))",
        ),
    ),
    Case(
        name="none nothing has a seed",
        cells=(
            "import random, numpy as np, pandas as pd",
            "print(np.random.default_rng().random(), random.random(), np.random.rand())",
            "print(pd.DataFrame({'n': range(100)}).sample(3).n.tolist())",
        ),
    ),
    Case(
        name="none the order of sets in an ordinary session",
        by_hand=True,
        cells=("words = {f'w{n}' for n in range(30)}", "print(list(words)[:5], hash('w1') % 1000)"),
    ),
    Case(
        name="none the clock at the recorded time",
        conditions={"clock": "recorded"},
        cells=("import time, datetime", "print(int(time.time()) // 2, datetime.date.today())"),
    ),
    Case(
        name="none fewer processors and other permissions",
        around=_poorer,
        cells=(
            "import numpy as np\nx = np.random.default_rng(2).normal(size=(300, 300))",
            "print(repr(float((x @ x).sum())))",
        ),
    ),
    Case(
        name="none addresses and timings and places that are shown",
        cells=(
            "import os, tempfile",
            "print(object(), os.getcwd())\ntempfile.gettempdir()",
            "%time sum(range(1000))",
            "class Model: pass\nModel()",
        ),
    ),
    Case(
        name="none a package that nothing uses is another one",
        around=packages(made="1.5"),
        cells=("import pandas as pd", "print(pd.Series([1, 2, 3]).mean())"),
    ),
    Case(
        name="none a service that says the same",
        answers=lambda path, count, later: json.dumps({"EUR": 1.0}),
        cells=("import requests", "print(requests.get('<url>/rates').json())"),
    ),
    Case(
        name="none the time zone was another one",
        around=variables({"TZ": "Asia/Tokyo"}, {"TZ": "UTC"}),
        cells=("import time", "print(time.strftime('%H:%M', time.localtime(0)), time.tzname)"),
    ),
    Case(
        name="none threads that give their results in order",
        cells=(
            "import os, time\nfrom concurrent.futures import ThreadPoolExecutor",
            "def work(n):\n    time.sleep(os.urandom(1)[0] / 20000)\n    return n * n",
            "with ThreadPoolExecutor(8) as pool:\n    print(list(pool.map(work, range(20))))",
        ),
    ),
    Case(
        name="none another hash seed that nothing shows",
        conditions={"hash_seed": "9", "threads": 1},
        cells=("words = {'a', 'b', 'c'}", "print(sorted(words), len(words))"),
    ),
    Case(
        name="none a widget that stays where it is",
        by_hand=True,
        cells=("import ipywidgets as widgets\nslider = widgets.IntSlider(value=3)", "print(slider.value)"),
    ),
)

TWO = (
    Case(
        name="two data was changed and the clock is shown",
        cause="data",
        cell=2,
        others={4: "time"},
        files={"orders.csv": _ORDERS},
        changed={"orders.csv": _OTHER},
        conditions={"data": "current"},
        cells=(
            "import pandas as pd, time",
            "orders = pd.read_csv('orders.csv')",
            "print(orders.net.sum())",
            "now = time.time()\nprint(now)",
            "print(orders.net.mean())",
            "print(int(now) % 86_400)",
        ),
        folded={3: 2, 5: 2, 6: 4},
    ),
    Case(
        name="two nothing was put back and a unique id",
        cause="randomness",
        cell=2,
        others={4: "randomness"},
        conditions={"random": "fresh"},
        cells=(
            "import numpy as np, uuid",
            "x = np.random.normal(size=3)\nprint(x)",
            "print(x.sum())",
            "name = uuid.uuid4().hex\nprint(name)",
            "print(name[:8])",
        ),
        folded={3: 2, 5: 4},
    ),
    Case(
        name="two a helper was edited and words have another order",
        cause="code",
        cell=2,
        others={3: "hash-order"},
        files={"prices.py": _HELPER},
        changed={"prices.py": _HELPER.replace("1.19", "1.07")},
        conditions={"code": "current", "hash_seed": "5"},
        cells=(
            "from prices import with_tax\nwords = 'ash oak elm fir yew box bay fig'.split()",
            "gross = with_tax(200)\nprint(gross)",
            "kinds = list(set(words))\nprint(kinds)",
            "print(gross / 2)",
            "print(kinds[-1], kinds[0])",
        ),
        folded={4: 2, 5: 3},
    ),
)

UNTOLD = (
    Case(
        name="unknown the permissions of new files",
        cause="nondeterminism",
        explained="unknown",
        cell=2,
        around=umask,
        cells=("from pathlib import Path", "p = Path('model.bin')\np.touch()\nprint(oct(p.stat().st_mode))"),
    ),
)
