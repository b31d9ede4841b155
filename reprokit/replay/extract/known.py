"""What methods and functions are known to do, by their names alone: change their object, or leave it as it is.

It knows names, as people use them in notebooks; it knows no types, so that each answer is a likelihood.
"""

from __future__ import annotations

import re
from enum import IntEnum

__all__ = ["Level", "by_argument", "by_method", "holds", "is_class", "seeds", "sets", "takes_part"]


class Level(IntEnum):
    """How sure it is that one cell needs another; see the package."""

    HARD = 0
    SURE = 1
    LIKELY = 2
    POSSIBLE = 3


_CERTAIN = frozenset(
    (
        "append", "extend", "insert", "clear", "popleft", "appendleft", "extendleft", "setdefault", "sort", "reverse",
        "discard", "popitem", "writelines",
    )
)  # fmt: skip
_CHANGES = re.compile(
    r"^(?:set(?!diff|flags)|add(?!\b$)|add$|append|insert|update|remove|pop|register|load_|fit|partial_|train|compile|step"
    r"|backward|zero_grad|eval$|cuda$|write|seek|close|commit|execute|put|push|enqueue|shuffle|fill$|resize$|learn|build"
    r"|connect|configure|config|enable|disable|reset|seed|next|send|start|stop|init|__setitem__|__next__|itemset"
    r"|requires_grad_|rename_axis_|freeze|unfreeze|freeze_|tick_|legend|grid|axis$|plot|scatter|bar|hist|annotate|text$"
    r"|imshow|fill_between|axhline|axvline|axhspan|axvspan|errorbar|invert_|margins|twin|suptitle|tight_layout|colorbar)"
)
_KEEPS = frozenset(
    (
        "head", "tail", "describe", "info", "sample", "nunique", "unique", "value_counts", "groupby", "agg",
        "aggregate", "mean", "median", "std", "var", "sum", "min", "max", "count", "size", "quantile", "corr", "cov",
        "abs", "round", "clip", "rank", "diff", "shift", "cumsum", "cumprod", "pct_change", "isna", "isnull", "notna",
        "notnull", "dropna", "fillna", "drop", "drop_duplicates", "duplicated", "rename", "reset_index", "set_index",
        "sort_values", "sort_index", "merge", "join", "copy", "astype", "apply", "map", "applymap", "transform",
        "filter", "query", "assign", "pivot", "pivot_table", "melt", "stack", "unstack", "explode", "get", "items",
        "keys", "values", "index", "between", "isin", "str", "strip", "split", "rsplit", "lower", "upper", "replace",
        "startswith", "endswith", "format", "encode", "decode", "title", "nlargest", "nsmallest", "to_csv",
        "to_parquet", "to_excel", "to_json", "to_pickle", "to_dict", "to_numpy", "to_frame", "to_list", "tolist",
        "to_string", "to_html", "to_markdown", "savefig", "save", "dump", "predict", "predict_proba",
        "decision_function", "score", "reshape", "ravel", "flatten", "transpose", "dot", "item", "any", "all",
        "argmin", "argmax", "argsort", "nonzero", "idxmax", "idxmin", "iterrows", "itertuples", "get_params",
        "feature_importances_", "exists", "is_file", "is_dir", "read_text", "read_bytes", "glob", "iterdir",
        "resolve", "joinpath", "with_suffix", "relative_to", "stat", "mkdir", "rolling", "resample", "interpolate",
        "where", "mask", "cut", "qcut", "crosstab", "hexdigest", "isoformat", "strftime", "total_seconds", "date",
        "time", "parameters", "state_dict", "numpy", "cpu", "detach", "squeeze", "unsqueeze", "numel", "dim",
        "select_dtypes", "equals", "compare", "memory_usage", "to_timestamp", "to_datetime", "tz_localize",
        "tz_convert", "floor", "ceil", "normalize", "zfill", "isdigit", "isalpha", "casefold", "lstrip", "rstrip",
        "find",
    )
)  # fmt: skip
_PARTS = frozenset(
    (
        "parameters", "named_parameters", "state_dict", "numpy", "values", "items", "get", "reshape", "ravel",
        "transpose", "squeeze", "unsqueeze", "detach", "cpu", "groupby", "rolling", "resample", "str", "index",
        "filter", "transform",
    )
)  # fmt: skip
_NEUTRAL = frozenset(
    (
        "len", "print", "str", "repr", "type", "isinstance", "issubclass", "id", "int", "float", "bool", "complex",
        "round", "abs", "range", "hasattr", "getattr", "callable", "format", "display", "hash", "ord", "chr", "bytes",
        "max", "min", "sum", "slice", "vars", "dir", "help", "input", "open",
    )
)  # fmt: skip
_CHANGES_ARGUMENT = frozenset(
    (
        "shuffle", "heappush", "heappop", "heapify", "heapreplace", "heappushpop", "insort", "insort_left",
        "insort_right", "copyto", "fill_diagonal", "put", "place", "putmask", "setattr", "delattr", "next",
        "xavier_uniform_", "kaiming_normal_", "normal_", "uniform_",
    )
)  # fmt: skip
_SETS = re.compile(
    r"^(?:set(?!_index|diff)\w*|use\w*|\w*filter(?:s|warnings)|simplefilter|chdir|putenv|register\w*|insert|append|extend"
    r"|config\w*|enable\w*|disable\w*|reset_orig|reset_defaults|update|style|theme|patch\w*|install\w*|init\w*"
    r"|load_dotenv|basicConfig|extension|load_extension|rc|rcdefaults|context|seed\w*|manual_seed\w*|monkey\w*"
    r"|reload|option_context|add\w*|pandas|start\w*|connect\w*|login|options|environ|path)$"
)
_HOLDS = re.compile(r"^(?:add|append|insert|update|put|push|register|set_|fit|load_|send|submit)")
_SEEDS = re.compile(r"(?:^|_)(?:seed(?:_everything|_all)?|set_seed|set_random_seed|random_seed)$|^manual_seed\w*$")
_INERT = frozenset(
    (
        "show", "sleep", "dump", "save", "savez", "savetxt", "savefig", "makedirs", "mkdir", "collect", "print",
        "pprint", "flush",
    )
)  # fmt: skip


def by_method(method: str, *, discarded: bool, inplace: bool) -> Level | None:
    """Return how sure it is that a method changes its object; None when it leaves it.

    Args:
        method: the method's name.
        discarded: whether what it returns is thrown away.
        inplace: whether it was asked to work in place.

    >>> by_method("append", discarded=True, inplace=False)
    <Level.SURE: 1>
    >>> by_method("groupby", discarded=False, inplace=False) is None
    True
    """
    if inplace or method in _CERTAIN:
        return Level.SURE
    if method in _KEEPS:
        return None
    if _CHANGES.match(method) or discarded:
        return Level.LIKELY
    return Level.POSSIBLE


def holds(method: str) -> Level:
    """Return how sure it is that an object has its arguments in it after a method that changes it."""
    return Level.LIKELY if method in _CERTAIN or _HOLDS.match(method) else Level.POSSIBLE


def by_argument(function: str) -> Level | None:
    """Return how sure it is that a function changes its arguments; None when it leaves them."""
    if function in _CHANGES_ARGUMENT:
        return Level.LIKELY
    return None if function in _NEUTRAL else Level.POSSIBLE


def sets(function: str, *, discarded: bool) -> Level | None:
    """Return how sure it is that a function of a library changes something that lasts."""
    if _SETS.match(function):
        return Level.LIKELY
    return Level.POSSIBLE if discarded and function not in _INERT else None


def seeds(function: str) -> bool:
    """Return whether a function seeds generators, by its name."""
    return _SEEDS.search(function) is not None


def is_class(function: str) -> bool:
    """Return whether a name is written as a class's is."""
    return function[:1].isupper()


def takes_part(method: str) -> bool:
    """Return whether what a method returns may be a part of its object."""
    return method not in _KEEPS or method in _PARTS
