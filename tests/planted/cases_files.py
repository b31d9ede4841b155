"""Differences in what lies in files: code, data, configuration."""

from __future__ import annotations

import io
import sqlite3
import tempfile
from pathlib import Path

from planting import Case
from worlds import variables

__all__ = ["CODE", "CONFIG", "DATA"]

_ORDERS = "day,net\n" + "".join(f"2026-01-{day:02d},{day * 1.25}\n" for day in range(1, 29))
_OTHER_ORDERS = _ORDERS.replace("2026-01-05,6.25", "2026-01-05,62.5")
_PRICES = "def with_tax(net):\n    return net * 1.19\n"
_CURRENT_CODE = {"code": "current"}
_CURRENT_DATA = {"data": "current"}

CODE = (
    Case(
        name="code a helper of the project was edited",
        cause="code",
        cell=4,
        files={"prices.py": _PRICES, "orders.csv": _ORDERS},
        changed={"prices.py": _PRICES.replace("1.19", "1.07")},
        conditions=_CURRENT_CODE,
        cells=(
            "import pandas as pd\nfrom prices import with_tax",
            "orders = pd.read_csv('orders.csv')",
            "orders['gross'] = with_tax(orders.net)",
            "print(orders.gross.sum())",
            "orders.describe()",
            "print(len(orders))",
        ),
        folded={5: 4},
    ),
    Case(
        name="code a submodule of a package of the project was edited",
        cause="code",
        cell=3,
        files={"shop/__init__.py": "", "shop/rules.py": "LIMIT = 5\n"},
        changed={"shop/rules.py": "LIMIT = 6\n"},
        conditions=_CURRENT_CODE,
        cells=(
            "from shop import rules",
            "numbers = list(range(10))",
            "kept = [n for n in numbers if n < rules.LIMIT]\nprint(kept)",
            "sum(kept)",
            "print(numbers)",
        ),
        folded={4: 3},
    ),
    Case(
        name="code a script that a cell starts was edited",
        cause="code",
        cell=2,
        files={"summarise.py": "import sys\nprint(len(open(sys.argv[1]).readlines()))\n", "orders.csv": _ORDERS},
        changed={"summarise.py": "import sys\nprint(len(open(sys.argv[1]).readlines()) - 1)\n"},
        conditions=_CURRENT_CODE,
        cells=(
            "import subprocess, sys",
            "rows = subprocess.run([sys.executable, 'summarise.py', 'orders.csv'], capture_output=True, text=True)\n"
            "rows = rows.stdout\n"
            "print(rows)",
            "print(int(rows) * 2)",
        ),
        folded={3: 2},
    ),
    Case(
        name="code what %run runs was edited",
        cause="code",
        cell=2,
        files={"setup_model.py": "depth = 3\nrate = 0.1\n"},
        changed={"setup_model.py": "depth = 4\nrate = 0.1\n"},
        conditions=_CURRENT_CODE,
        cells=("%run setup_model.py", "print(depth, rate)", "print('trained')"),
    ),
    Case(
        name="code a function of a helper was taken away",
        cause="code",
        cell=1,
        files={"prices.py": _PRICES},
        changed={"prices.py": "def gross(net):\n    return net * 1.19\n"},
        conditions=_CURRENT_CODE,
        cells=("from prices import with_tax", "x = with_tax(100)", "print(x)"),
        folded={2: 1, 3: 1},
    ),
    Case(
        name="code a cell was edited in the second session",
        how="diff",
        cause="code",
        cell=2,
        files={"orders.csv": _ORDERS},
        cells=("import pandas as pd\norders = pd.read_csv('orders.csv')", "cut = orders[orders.net > 10]", "len(cut)"),
        second=("import pandas as pd\norders = pd.read_csv('orders.csv')", "cut = orders[orders.net > 12]", "len(cut)"),
        folded={3: 2},
    ),
    Case(
        name="code a cell was added in the second session",
        how="diff",
        cause="code",
        cell=2,
        cells=("import numpy as np\nx = np.arange(6.0)", "print(x.mean())"),
        second=("import numpy as np\nx = np.arange(6.0)", "x[0] = 100", "print(x.mean())"),
        folded={2: 2},
    ),
    Case(
        name="code a helper was edited between two sessions",
        how="diff",
        cause="code",
        cell=2,
        files={"prices.py": _PRICES},
        changed={"prices.py": _PRICES.replace("1.19", "1.2")},
        cells=("from prices import with_tax", "print(with_tax(100))"),
    ),
)


def _database(value: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.db"
        with sqlite3.connect(path) as connection:
            connection.execute("create table sales (day text, amount int)")
            connection.executemany("insert into sales values (?, ?)", [("mon", 10), ("tue", value), ("wed", 30)])
        connection.close()
        return path.read_bytes()


def _array(last: float) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.array([1.0, 2.0, last]))
    return file.getvalue()


DATA = (
    Case(
        name="data a table that pandas reads was changed",
        cause="data",
        cell=2,
        files={"orders.csv": _ORDERS},
        changed={"orders.csv": _OTHER_ORDERS},
        conditions=_CURRENT_DATA,
        cells=(
            "import pandas as pd",
            "orders = pd.read_csv('orders.csv', parse_dates=['day'])",
            "weekly = orders.set_index('day').net.resample('W').sum()\nweekly",
            "print(weekly.mean())",
            "print(sorted(orders.columns))",
        ),
        folded={3: 2, 4: 2},
    ),
    Case(
        name="data a row of a database was changed",
        cause="data",
        cell=2,
        files={"shop.db": _database(20)},
        changed={"shop.db": _database(25)},
        conditions=_CURRENT_DATA,
        cells=(
            "import sqlite3",
            "db = sqlite3.connect('shop.db')\nrows = db.execute('select * from sales').fetchall()",
            "print(sum(amount for _, amount in rows))",
            "db.close()\nprint(len(rows))",
        ),
        folded={3: 2, 4: 2},
    ),
    Case(
        name="data a file is gone",
        cause="data",
        cell=2,
        files={"data/weights.txt": "1\n2\n3\n"},
        changed={"data/weights.txt": None},
        conditions=_CURRENT_DATA,
        cells=("import numpy as np", "weights = np.loadtxt('data/weights.txt')", "print(weights.sum())"),
        folded={3: 2},
    ),
    Case(
        name="data a file that a command reads was changed",
        cause="data",
        cell=1,
        files={"log.txt": "ok\nfail\nok\n"},
        changed={"log.txt": "ok\nfail\nfail\n"},
        conditions=_CURRENT_DATA,
        cells=("failures = !grep -c fail log.txt\nfailures = int(failures[0])", "print(failures)", "print('end')"),
        folded={2: 1},
    ),
    Case(
        name="data an array outside the project was changed",
        cause="data",
        cell=2,
        files={"<folder>/shared/weights.npy": _array(3.0)},
        changed={"<folder>/shared/weights.npy": _array(3.5)},
        conditions=_CURRENT_DATA,
        cells=("import numpy as np", "w = np.load('<folder>/shared/weights.npy')\nprint(w.sum())", "print(w.mean())"),
        folded={3: 2},
    ),
    Case(
        name="data a file more lies in a folder in the second session",
        how="diff",
        cause="data",
        cell=2,
        files={"parts/a.csv": "1\n2\n", "parts/b.csv": "3\n"},
        changed={"parts/c.csv": "4\n"},
        cells=(
            "from pathlib import Path",
            "values = [int(line) for p in sorted(Path('parts').glob('*.csv')) for line in open(p)]\nprint(values)",
            "print(sum(values))",
        ),
        folded={3: 2},
    ),
    Case(
        name="data what one cell wrote of changed data another reads",
        how="diff",
        cause="data",
        cell=2,
        files={"orders.csv": _ORDERS},
        changed={"orders.csv": _OTHER_ORDERS},
        cells=(
            "import pandas as pd",
            "pd.read_csv('orders.csv').to_parquet('orders.parquet')",
            "print(pd.read_parquet('orders.parquet').net.sum())",
        ),
        folded={3: 2},
    ),
)

_SETTINGS = "model:\n  depth: 3\n  rate: 0.1\n"

CONFIG = (
    Case(
        name="config a key of a YAML file was changed",
        cause="config",
        cell=2,
        files={"settings.yaml": _SETTINGS},
        changed={"settings.yaml": _SETTINGS.replace("0.1", "0.2")},
        conditions=_CURRENT_DATA,
        cells=(
            "import yaml",
            "settings = yaml.safe_load(open('settings.yaml'))",
            "rate = settings['model']['rate']",
            "print([round(rate ** k, 4) for k in range(4)])",
        ),
        folded={4: 2},
    ),
    Case(
        name="config a key of a TOML file was changed",
        how="diff",
        cause="config",
        cell=1,
        files={"settings.toml": "[train]\nsteps = 10\n"},
        changed={"settings.toml": "[train]\nsteps = 20\n"},
        cells=("import tomllib\nsteps = tomllib.load(open('settings.toml', 'rb'))['train']['steps']", "print(steps)"),
        folded={2: 1},
    ),
    Case(
        name="config another parameter was given",
        how="diff",
        cause="config",
        cell=2,
        folded={4: 2},
        params=({"rate": 0.1}, {"rate": 0.3}),
        cells=("#: parameters\nrate = 0.5", "steps = range(4)", "print([round(rate * k, 3) for k in steps])"),
    ),
    Case(
        name="config a variable that is not recorded has another value",
        cause="config",
        cell=2,
        around=variables({"SHOP_MODE": "fast"}, {"SHOP_MODE": "exact"}),
        cells=(
            "import os",
            "mode = os.environ['SHOP_MODE']\nprint(mode)",
            "digits = 1 if mode == 'fast' else 6\nprint(round(2 / 3, digits))",
        ),
        folded={3: 2},
    ),
    Case(
        name="config the time zone is another one in the second session",
        how="diff",
        cause="config",
        cell=2,
        around=variables({"TZ": "UTC"}, {"TZ": "Asia/Tokyo"}),
        cells=(
            "import os, time",
            "zone = time.tzname[0]\nprint(zone)",
            "print(time.strftime('%H:%M', time.localtime(0)))",
        ),
        folded={},
        others={3: "config"},
    ),
)
