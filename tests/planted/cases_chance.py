"""Differences that nobody chose: generators, clocks, orders, and what is another thing each time."""

from __future__ import annotations

from planting import Case

__all__ = ["HASH_ORDER", "NONDETERMINISM", "RANDOMNESS", "TIME"]

_FRESH = {"random": "fresh"}

RANDOMNESS = (
    Case(
        name="randomness numpy's global generator was not put back",
        cause="randomness",
        cell=2,
        conditions=_FRESH,
        cells=(
            "import numpy as np",
            "noise = np.random.normal(size=5)\nprint(noise)",
            "print(noise.mean())",
            "print(np.arange(3))",
        ),
        folded={3: 2},
    ),
    Case(
        name="randomness a generator was made without a seed",
        cause="randomness",
        cell=3,
        conditions=_FRESH,
        cells=(
            "import numpy as np\nrng = np.random.default_rng()",
            "weights = rng.random(4)",
            "print(weights.round(3))",
            "print((weights * 2).sum())",
        ),
        folded={4: 3},
    ),
    Case(
        name="randomness a model was trained without a seed in two sessions",
        how="diff",
        cause="randomness",
        cell=3,
        cells=(
            "from sklearn.datasets import load_iris\nfrom sklearn.model_selection import train_test_split\n"
            "from sklearn.tree import DecisionTreeClassifier",
            "X, y = load_iris(return_X_y=True)",
            "Xa, Xb, ya, yb = train_test_split(X, y)\nprint(ya[:12])",
            "model = DecisionTreeClassifier().fit(Xa, ya)\nprint(Xa.mean(axis=0))",
            "print(X.shape)",
        ),
        folded={4: 3},
    ),
    Case(
        name="randomness the standard library shuffles",
        cause="randomness",
        cell=2,
        conditions=_FRESH,
        cells=(
            "import random\nnames = [f'customer-{n}' for n in range(20)]",
            "random.shuffle(names)\nprint(names[:5])",
            "winner = names[0]\nprint(winner)",
        ),
        folded={3: 2},
    ),
    Case(
        name="randomness a table is sampled",
        cause="randomness",
        cell=3,
        conditions=_FRESH,
        cells=(
            "import pandas as pd\ntable = pd.DataFrame({'n': range(500)})",
            "part = table.sample(20)",
            "print(part.n.sum())",
            "print(len(part))",
        ),
        folded={},
    ),
    Case(
        name="randomness a unique id",
        cause="randomness",
        cell=2,
        cells=("import uuid", "run_id = uuid.uuid4()\nprint(run_id)", "name = f'model-{run_id}.bin'\nprint(name)"),
        folded={3: 2},
    ),
    Case(
        name="randomness a number from the system's entropy",
        cause="randomness",
        cell=3,
        cells=(
            "import os",
            "salt = int.from_bytes(os.urandom(8), 'big')",
            "print(salt % 10007)",
            "print(hex(salt)[:5])",
        ),
        folded={4: 3},
    ),
)

TIME = (
    Case(
        name="time the date and time are shown",
        cause="time",
        cell=2,
        cells=("from datetime import datetime", "print(datetime.now().isoformat())", "print('done')"),
    ),
    Case(
        name="time a moment is kept and used later",
        cause="time",
        cell=3,
        cells=(
            "import time",
            "began = time.time()",
            "age = (began - 1_700_000_000) / 86400\nprint(round(age, 6))",
            "print(int(age * 86400) % 1000)",
            "print('steady')",
        ),
        folded={4: 3},
    ),
    Case(
        name="time a seed is taken from the clock",
        cause="time",
        cell=1,
        cells=(
            "import time\nimport numpy as np\nseed = time.time_ns() % 2**32\nrng = np.random.default_rng(seed)\n"
            "x = rng.normal(size=3)\nprint(x)",
            "print(x.sum())",
        ),
        folded={2: 1},
    ),
    Case(
        name="time pandas says what time it is",
        cause="time",
        cell=2,
        cells=(
            "import pandas as pd",
            "stamp = pd.Timestamp.now()\nhours = pd.date_range(stamp, periods=3, freq='h')\n"
            "print(hours.second[0], stamp.microsecond)",
            "print(stamp.value % 1000003)",
        ),
        folded={3: 2},
    ),
    Case(
        name="time a result is named after the moment",
        cause="time",
        cell=2,
        cells=(
            "import time, json",
            "name = f'report-{time.time_ns()}.json'\njson.dump([1, 2], open(name, 'w'))",
            "print(name)",
        ),
        folded={3: 2},
    ),
    Case(
        name="time a command asks the clock",
        cause="time",
        cell=1,
        cells=("stamp = !date +%s%N\nprint(stamp[0][-12:])", "print(int(stamp[0]) % 9973)"),
        folded={2: 1},
    ),
    Case(
        name="time how long something took decides",
        cause="time",
        cell=2,
        explained="time",
        cells=(
            "import time",
            "began = time.perf_counter()\ntotal = sum(range(200_000))\ntook = time.perf_counter() - began\n"
            "print(f'speed index {total / took:.3f}')",
            "print(total)",
        ),
    ),
)

_SEVEN = {"hash_seed": "7"}
_WORDS = "words = 'the quick brown fox jumps over the lazy dog while it rains in spain'.split()"

HASH_ORDER = (
    Case(
        name="hash-order the order of a set of words",
        cause="hash-order",
        cell=2,
        conditions=_SEVEN,
        cells=(_WORDS, "distinct = list(set(words))\nprint(distinct)", "print(distinct[0])", "print(len(distinct))"),
        folded={3: 2},
    ),
    Case(
        name="hash-order rows are parted by hash",
        cause="hash-order",
        cell=2,
        conditions=_SEVEN,
        cells=(_WORDS, "fold = [hash(word) % 5 for word in words]\nprint(fold)", "print(fold[::-1])"),
        folded={3: 2},
    ),
    Case(
        name="hash-order columns come from a set in two sessions",
        how="diff",
        by_hand=True,
        cause="hash-order",
        cell=3,
        cells=(
            "import pandas as pd\ncolumns = {'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta', 'eta'}",
            "table = pd.DataFrame([[i * i for i in range(7)]], columns=list(columns))\nprint(list(table.columns))",
            "print('end')",
        ),
    ),
    Case(
        name="hash-order a file is written in the order of a set",
        cause="hash-order",
        cell=2,
        conditions={"hash_seed": "random"},
        cells=(
            _WORDS,
            "open('vocabulary.txt', 'w').write('\\n'.join(set(words)))",
            "index = {word: n for n, word in enumerate(open('vocabulary.txt').read().split())}\n"
            "print(index['fox'], index['the'], index['dog'], index['rains'])",
        ),
        folded={3: 2},
    ),
)

NONDETERMINISM = (
    Case(
        name="nondeterminism addresses of objects decide",
        cause="nondeterminism",
        cell=2,
        cells=(
            "class Node:\n    pass\nnodes = [Node() for _ in range(8)]",
            "print([id(n) // 16 % 9973 for n in nodes])",
            "print('x')",
        ),
    ),
    Case(
        name="nondeterminism the order of a set of objects",
        cause="nondeterminism",
        cell=2,
        cells=(
            "class Node:\n    def __init__(self, n):\n        self.n = n\nnodes = {Node(n) for n in range(60)}",
            "order = [node.n for node in nodes]\nprint(order)",
            "print(order[:2])",
        ),
        folded={3: 2},
    ),
    Case(
        name="nondeterminism the number of the process decides",
        cause="nondeterminism",
        cell=2,
        cells=("import os", "shard = os.getpid() % 9973\nprint(shard)", "print(shard + 1)"),
        folded={3: 2},
    ),
    Case(
        name="nondeterminism the number of a file decides",
        cause="nondeterminism",
        cell=2,
        files={"orders.csv": "1\n"},
        cells=("import os", "print(os.stat('.').st_ino % 99991 * 7)", "print(open('orders.csv').read())"),
    ),
)
