"""torch, JAX and TensorFlow draw the same in a replay, as far as they can; what they cannot is told.

They are large, and no requirement of the project's own: where one is not installed its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recording import latest, process

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed"
)

TORCH = [
    "import torch\nresult = torch.rand(2).tolist()",  # imported and used in the same cell
    "layer = torch.nn.Linear(3, 2)\nresult = layer.weight.tolist()",
    "torch.seed()\nresult = torch.rand(1).tolist()",
    "result = torch.seed(), torch.initial_seed()",
    "result = torch.randperm(9).tolist(), torch.randint(1000, (3,)).tolist()",
    "own = torch.Generator()\nown.manual_seed(torch.randint(1000, ()).item())\nresult = own.get_state().sum().item()",
    "result = torch.rand(2, generator=own).tolist()",
    "result = torch.nn.functional.dropout(torch.ones(30)).tolist()",
    "result = torch.normal(0.0, 1.0, (5,)).tolist(), torch.randn(1).item()",
    "from torch.utils.data import DataLoader, TensorDataset, random_split\n"
    "data = TensorDataset(torch.arange(40))\n"
    "result = [batch[0].tolist() for batch in DataLoader(data, batch_size=7, shuffle=True)]",
    "result = [part.indices for part in random_split(data, [30, 10])]",
    "import random\nimport numpy as np\n"
    "class Noisy(torch.utils.data.Dataset):\n"
    "    def __len__(self):\n        return 6\n"
    "    def __getitem__(self, i):\n"
    "        return torch.tensor([random.random(), np.random.rand(), float(torch.rand(1))])\n"
    "result = [batch.tolist() for batch in DataLoader(Noisy(), batch_size=2, num_workers=2)]",
    "model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(), torch.nn.Linear(4, 1))\n"
    "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
    "for _ in range(3):\n"
    "    optimizer.zero_grad()\n    model(torch.rand(5, 3)).sum().backward()\n    optimizer.step()\n"
    "result = [p.tolist() for p in model.parameters()]",
    "x = torch.rand(1)\nresult = x.item(), torch.bernoulli(torch.full((20,), 0.5)).tolist()",
]

JAX = [
    "import jax, numpy as np, random\nkey = jax.random.key(np.random.randint(2**31 - 1))\n"
    "result = jax.random.normal(key, (2,)).tolist()",
    "key, sub = jax.random.split(key)\nresult = jax.random.normal(sub).item()",
    "raw = jax.random.PRNGKey(random.getrandbits(31))\nresult = jax.random.uniform(raw, (2,)).tolist()",
]

TENSORFLOW = [
    "import tensorflow as tf\nresult = tf.random.Generator.from_non_deterministic_state().normal([2]).numpy().tolist()",
    "own = tf.random.Generator.from_non_deterministic_state()\nresult = own.uniform([2]).numpy().tolist()",
    "result = own.uniform([2]).numpy().tolist()",
    "result = tf.random.get_global_generator().normal([2]).numpy().tolist()",
    "result = tf.random.get_global_generator().normal([2]).numpy().tolist()",
    "layer = tf.keras.layers.Dense(2)\nresult = layer(tf.ones((1, 3))).numpy().tolist()",
    "drop = tf.keras.layers.Dropout(0.5)\nresult = drop(tf.ones((1, 30)), training=True).numpy().tolist()",
    "result = drop(tf.ones((1, 30)), training=True).numpy().tolist()",
    "import random\ntf.random.set_seed(random.randrange(2**31))\nresult = tf.random.normal([2]).numpy().tolist()",
    "result = tf.random.normal([2]).numpy().tolist(), tf.random.shuffle(tf.range(20)).numpy().tolist()",
    "result = [x.item() for x in tf.data.Dataset.range(20).shuffle(20).as_numpy_iterator()]",
]


def assert_repeats(cells: list[str], project: Path) -> None:
    """A replay gives what the record gave, and another record gives something else in each cell."""
    first = process("record", cells, project)
    assert process("replay", cells, project) == first
    assert latest(project).gaps == tuple(gap for gap in latest(project).gaps if gap.aspect != "randomness")
    other = process("record", cells, project)
    assert [cell for cell, one, two in zip(cells, first, other, strict=True) if one == two] == []


@needs_torch
def test_torch_repeats(project: Path) -> None:
    assert_repeats(TORCH, project)


@needs_torch
def test_a_child_that_imports_torch_repeats(project: Path) -> None:
    """torch gives itself a seed by chance when it is imported; in a child that follows from the parent's root."""
    cells = [
        "import multiprocessing\nfork = multiprocessing.get_context('fork')\n"
        "def draw(_):\n    import torch\n    return torch.rand(1).item()\n"
        "with fork.Pool(1) as pool:\n    result = pool.map(draw, range(2))",
    ]
    assert_repeats(cells, project)


@needs_torch
def test_torch_counts_its_words(project: Path) -> None:
    cells = ["import torch", "torch.rand(5)", "torch.randint(10, (700,))", "torch.manual_seed(1)", "pass"]
    process("record", cells, project)
    ends = [state for cell in latest(project).cells for state in cell.random if state.at == "end"]
    assert [state.draws.get("torch") for state in ends] == [None, 5, 700, -1, None]


@needs_torch
def test_what_waits_for_cuda_is_taken_back(project: Path) -> None:
    cells = ["import torch.cuda\nresult = len(torch.cuda._queued_calls)\ntorch.cuda._queued_calls[0][0]()"]
    (count,) = process("record", cells, project)
    code = "import torch.cuda; print(len(torch.cuda._queued_calls))"
    bare = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(count) == int(bare) + 1


@needs_jax
def test_keys_repeat_and_are_recorded(project: Path) -> None:
    assert_repeats(JAX, project)
    last = latest(project).cells[-1].random[-1]
    assert {"variable key", "variable sub", "variable raw"} <= last.states.keys()
    assert not any(name in last.draws for name in ("variable key", "variable sub", "variable raw"))


@needs_tensorflow
def test_tensorflow_repeats(project: Path) -> None:
    assert_repeats(TENSORFLOW, project)


@needs_tensorflow
def test_tensorflow_without_any_seed_is_told(project: Path) -> None:
    cells = [
        "import tensorflow as tf",
        "x = tf.random.normal([2])",
        "x = tf.random.normal([2], seed=3)",
        "x = [y for y in tf.data.Dataset.range(5).shuffle(5)]",
        "tf.random.set_seed(1)\nx = tf.random.normal([2])",
    ]
    process("record", cells, project)
    told = {gap.cell for gap in latest(project).gaps if gap.aspect == "randomness"}
    assert told == {2, 4}


@needs_torch
@needs_jax
def test_one_verb_seeds_everything_also_what_is_imported_later(project: Path) -> None:
    code = """
import random
from reprokit.capture.request import Request
from reprokit.capture.session import Session
session = Session(Request(), dict, print)
session.open_cell("x")
import torch
seeded = session.seed(5)
import numpy
print(seeded, random.random(), torch.rand(1), numpy.random.rand(), numpy.random.default_rng().random(), torch.seed())
session.close_cell("done")
session.stop()
"""
    environ = {**os.environ, "REPROKIT_LOCK": "never"}
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, cwd=project, env=environ, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    )
    assert first == second
    assert "'torch'" in first
