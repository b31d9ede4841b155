"""Rules on random numbers: unseeded ones, those of workers, and those that nothing can repeat."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from reprokit.lint.calls import Call, Calls
from reprokit.lint.finding import Finding
from reprokit.views.plain import spans

__all__ = ["findings"]

_SEEDS = {
    "random.seed": "random",
    "numpy.random.seed": "numpy",
    "numpy.random.set_state": "numpy",
    "torch.manual_seed": "torch",
    "torch.random.manual_seed": "torch",
    "tensorflow.random.set_seed": "tensorflow",
    "tensorflow.set_random_seed": "tensorflow",
    "tensorflow.compat.v1.set_random_seed": "tensorflow",
}
_SEED_ALL = re.compile(r"(^|\.)(set_random_seed|seed_everything|set_seed|set_global_seed|seed_all|fix_seeds?)$")

_PYTHON = frozenset(
    f"random.{name}"
    for name in (
        "random", "randint", "randrange", "choice", "choices", "shuffle", "sample", "uniform", "gauss", "normalvariate",
        "betavariate", "expovariate", "triangular", "getrandbits", "lognormvariate", "vonmisesvariate", "paretovariate",
    )
)  # fmt: skip
_NUMPY_QUIET = frozenset(
    ("seed", "get_state", "set_state", "default_rng", "RandomState", "Generator", "SeedSequence", "PCG64", "MT19937",
     "Philox", "SFC64", "PCG64DXSM", "BitGenerator")
)  # fmt: skip
_NUMPY_MADE = frozenset(
    f"numpy.random.{name}" for name in ("default_rng", "RandomState", "SeedSequence", "PCG64", "MT19937")
)
_TORCH = frozenset(
    f"torch.{name}"
    for name in (
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "rand_like",
        "randn_like",
    )
)
_SKLEARN = frozenset(
    (
        "train_test_split", "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
        "ExtraTreesRegressor", "DecisionTreeClassifier", "DecisionTreeRegressor", "GradientBoostingClassifier",
        "GradientBoostingRegressor", "BaggingClassifier", "BaggingRegressor", "AdaBoostClassifier",
        "AdaBoostRegressor", "KMeans", "MiniBatchKMeans", "MLPClassifier", "MLPRegressor", "SGDClassifier",
        "SGDRegressor", "TSNE", "IsolationForest", "GaussianMixture", "BayesianGaussianMixture", "ShuffleSplit",
        "StratifiedShuffleSplit", "GroupShuffleSplit", "RandomizedSearchCV", "FastICA", "NMF", "TruncatedSVD",
        "LatentDirichletAllocation", "make_blobs", "make_classification", "make_regression", "make_moons",
        "make_circles", "make_swiss_roll", "make_s_curve", "make_friedman1", "resample", "shuffle",
        "SpectralClustering", "permutation_importance", "RandomTreesEmbedding", "RBFSampler", "Nystroem", "MDS",
    )
)  # fmt: skip
_QUIET_UNLESS = {"KFold": "shuffle", "StratifiedKFold": "shuffle"}  # random only when that is asked for
_WORKERS = {
    "map", "imap", "imap_unordered", "starmap", "apply", "apply_async", "map_async", "starmap_async", "submit",
    "delayed",
}  # fmt: skip
_POOLS = (
    "multiprocessing", "concurrent.futures", "joblib", "dask", "distributed", "ray", "multiprocess", "pathos",
    "billiard",
)  # fmt: skip
_NEVER = re.compile(
    r"^(uuid\.uuid[14]|secrets\.(token_\w+|choice|randbelow|randbits)|os\.urandom|random\.SystemRandom)$"
)


def findings(calls: Calls) -> Iterator[Finding]:
    """Yield what makes random numbers differ in a fresh run."""
    seeded: set[str] = set()
    places: dict[str, list[Call]] = {}
    for call in calls.all:
        if call.name in _SEEDS and call.node.args:
            seeded.add(_SEEDS[call.name])
        elif _SEED_ALL.search(call.name or call.method):
            seeded |= {"random", "numpy", "torch", "tensorflow"}
        elif (kind := _source(call)) is not None and not seeded & {
            kind,
            *(["numpy"] if kind == "scikit-learn" else []),
        }:
            places.setdefault(kind, []).append(call)
    for kind, found in places.items():
        yield _unseeded(kind, found)
    yield from _in_workers(calls, seeded)
    for call in calls.all:
        if _NEVER.match(call.name):
            yield Finding(
                code="R203",
                message=f"{call.name} gives something else each time, and no seed changes that",
                remedy="use a seeded generator, or keep what it gave in a file",
                cell=call.block.number,
                line=call.line,
            )


def _source(call: Call) -> str | None:
    """Return whose random numbers a call draws without a seed of its own."""
    name, last = call.name, call.name.rpartition(".")[2]
    if name in _PYTHON:
        return "random"
    if name.startswith("numpy.random."):
        if name in _NUMPY_MADE:
            return None if call.node.args or call.node.keywords else "numpy.default_rng"
        return None if last in _NUMPY_QUIET or name.count(".") > 2 else "numpy"
    if name in _TORCH:
        return None if call.argument(-1, "generator") else "torch"
    if name.startswith("tensorflow.random.") and last in ("normal", "uniform", "shuffle", "truncated_normal"):
        return None if call.argument(-1, "seed") else "tensorflow"
    if (name.startswith("scipy.stats.") and last == "rvs") or (call.method == "sample" and _is_frames(call)):
        return None if call.is_open_ended or call.argument(-1, "random_state") else "numpy"
    return "scikit-learn" if name.startswith("sklearn.") and _is_loose(call, last) else None


def _is_frames(call: Call) -> bool:
    """Return whether ``sample`` is certainly that of a pandas object."""
    return any(keyword.arg in ("frac", "n", "replace") for keyword in call.node.keywords) and not call.name


def _is_loose(call: Call, last: str) -> bool:
    if call.is_open_ended or call.argument(-1, "random_state") is not None:
        return False
    switch = _QUIET_UNLESS.get(last)
    if switch is not None:
        value = call.argument(-1, switch)
        return isinstance(value, ast.Constant) and value.value is True
    if last == "train_test_split":
        value = call.argument(-1, "shuffle")
        return not (isinstance(value, ast.Constant) and value.value is False)
    return last in _SKLEARN


def _unseeded(kind: str, found: list[Call]) -> Finding:
    cells = sorted({call.block.number for call in found})
    more = f" (and in cells {spans(cells[1:])})" if len(cells) > 1 else ""
    name = found[0].name or f"{found[0].method}()"
    return Finding(
        code="R201",
        message=f"{name} draws from {kind} without a seed{more}",
        remedy="reprokit records and restores the state; `%repro seed N` makes plain reruns agree too",
        cell=found[0].block.number,
        line=found[0].line,
    )


# -- workers --------------------------------------------------------------------------------------


def _in_workers(calls: Calls, seeded: set[str]) -> Iterator[Finding]:
    drawing = _drawing_functions(calls)
    uses_pool = any(name.startswith(_POOLS) for name in calls.aliases.values())
    told: set[str] = set()
    for call in calls.all:
        if call.name.startswith("torch.") and call.method == "DataLoader":
            yield from _loader(call, seeded)
        if not uses_pool or call.method not in _WORKERS or not call.node.args or call.name == "map":
            continue
        function = call.node.args[0]
        name = function.id if isinstance(function, ast.Name) else ""
        if name in drawing and name not in told:
            told.add(name)
            yield Finding(
                code="R202",
                message=f"{name} draws {drawing[name]} in a worker, whose generator nothing seeds",
                remedy="pass each task a seed, and make a generator from it: np.random.default_rng(seed)",
                cell=call.block.number,
                line=call.line,
            )


def _loader(call: Call, seeded: set[str]) -> Iterator[Finding]:
    workers = call.argument(5, "num_workers")
    many = isinstance(workers, ast.Constant) and isinstance(workers.value, int) and workers.value > 0
    if not many or call.is_open_ended or call.argument(-1, "worker_init_fn") or call.argument(-1, "generator"):
        return
    if "torch" in seeded and "numpy" in seeded:
        return
    yield Finding(
        code="R202",
        message="the workers of this DataLoader draw from generators that nothing seeds",
        remedy="give it generator=torch.Generator().manual_seed(N), and a worker_init_fn that seeds numpy and random",
        cell=call.block.number,
        line=call.line,
    )


def _drawing_functions(calls: Calls) -> dict[str, str]:
    """Return the document's functions that draw from a global generator without seeding it, and what they call."""
    draws: dict[str, str] = {}
    seeding: set[str] = set()
    called: dict[str, set[str]] = {}
    for call in calls.all:
        for name in call.inside[-1:]:
            called.setdefault(name, set()).add(getattr(call.node.func, "id", ""))
            if call.name in _SEEDS or _SEED_ALL.search(call.name or call.method):
                seeding.add(name)
            elif (kind := _source(call)) is not None and kind != "scikit-learn":
                draws.setdefault(name, call.name)
    for _ in range(5):  # through functions that call functions
        for name, used in called.items():
            inner = next((draws[other] for other in used if other in draws and other not in seeding), None)
            if inner is not None:
                draws.setdefault(name, inner)
    return {name: what for name, what in draws.items() if name not in seeding}
