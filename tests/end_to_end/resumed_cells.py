"""Cells whose state is hard to bring back: what they define, and what looks whether it is there again, all of it."""

from __future__ import annotations

SETTINGS = r"""%load_ext autoreload
%autoreload 2
%matplotlib inline
%precision 3
import asyncio, inspect, logging, os, random, sys, warnings
import counting
import matplotlib.pyplot as plt
import numpy as np
import numpy.random as nr
import pandas as pd
from collections import namedtuple
from counting import step
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from numpy.random import normal
from random import Random, shuffle
K = 1
warnings.filterwarnings("ignore", category=RuntimeWarning)
np.seterr(divide="ignore")
pd.set_option("display.max_rows", 7)
plt.rcParams["figure.dpi"] = 50
logging.basicConfig(level=logging.INFO, format="%(message)s")
"""

DEFINITIONS = r"""def uses_global():
    return K + 1
def outer(n):
    seen = []
    def inner(x):
        seen.append(x)
        return len(seen) + n + K
    return inner
adder = outer(10)
adder(1)
class Base:
    made = 0
    def __init__(self, v):
        self.v = v
        Base.made += 1
    def __repr__(self):
        return f"{type(self).__name__} {self.v}"
    def where(self):
        return K
class Child(Base):
    def __init__(self, v):
        super().__init__(v)
        self.me = self
@dataclass
class Point:
    x: int
    y: list
class Color(Enum):
    RED = 1
    BLUE = 2
    def low(self):
        return self.name.lower()
Pair = namedtuple("Pair", "a b")
@lru_cache
def cached(n):
    return n * K
double = partial(lambda a, b: a * b + K, 2)
one = Child(3)
alias, point, color, pair = one, Point(1, [one]), Color.RED, Pair(1, one)
base = np.arange(12.0)
part = base[2:8].reshape(2, 3)
turned = np.asfortranarray(np.ones((3, 4)))
flipped = turned[:, ::2]
objects, when = np.array([one, "a", None], dtype=object), np.array(["2024-01-01"], dtype="M8[D]")
frame = pd.DataFrame({"n": range(2000), "s": [f"s{i}" for i in range(2000)], "t": pd.Timestamp("2024-01-01")})
column = frame["n"]
words, ice = {f"w{i}" for i in range(500)}, frozenset(f"q{i}" for i in range(40))
words.discard("w7")
rng, own, old = np.random.default_rng(), Random(), np.random.RandomState(5)
twister = np.random.Generator(np.random.MT19937())
rng.random(3), own.random(), nr.rand(), normal(), random.random()
figure, axes = plt.subplots()
axes.plot([1, 2])
plt.close()
step()
counting.LIMIT = 4
with open("made.txt", "w") as file:
    file.write("x")
os.environ["MADE"] = "yes"
sys.path.insert(0, "elsewhere")
os.makedirs("sub", exist_ok=True)
os.chdir("sub")
async def wait():
    await asyncio.sleep(0)
    return K
await wait()
[1, one.v]"""

LOOKS = r"""K = 100
print(uses_global(), adder(5), one.where(), alias is one, point.y[0] is one, pair.b is one, one.me is one)
print(Child(1).made, isinstance(one, Base), type(one) is Child, color is Color.RED, Color(2).low(), cached(3))
print(double(4), point, pair)
base[2] = 99
print(part[0, 0], base.flags.owndata, turned.flags.f_contiguous, flipped.shape, objects[0] is one, when)
print(list(words), list(ice)[:6])
words.add("new")
print(list(words)[:40])
print(rng.random(), own.random(), old.rand(), twister.random(), nr.rand(), normal(), random.random())
print(np.random.default_rng().random(), Random().random())
order = list(range(9))
shuffle(order)
print(order, frame.describe().to_string(), frame.s.iloc[-1], column.sum(), frame.t.dtype)
print(step(), counting.LIMIT, counting.calls, file.closed, file.name, os.environ["MADE"], sys.path[0])
print(os.path.basename(os.getcwd()), In[1][:8], Out, _, __, _i[:5], len(In), get_ipython().execution_count)
print(np.geterr()["divide"], pd.get_option("display.max_rows"), plt.rcParams["figure.dpi"], warnings.filters[0][0])
logging.info("told")
print(await wait(), get_ipython().magics_manager.registry["AutoreloadMagics"]._reloader.enabled)
print(inspect.getsource(uses_global))"""

SHOWS = ("1 / 3", "axes.plot([2, 1])\nfigure", "plt.plot([1, 3])\nplt.show()")

COUNTING = "calls = 0\nLIMIT = 1\n\ndef step():\n    global calls\n    calls += 1\n    return calls\n"
