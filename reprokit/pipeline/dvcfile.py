"""The texts of ``dvc.yaml`` and ``params.yaml``: stages are put in, and what the user changed by hand stays. Pure.

A generated stage names the run that it was inferred from (``meta.reprokit.run``). What that run gave at the time is
the base of a three-way merge: what the user changed since is kept, what a newer run does otherwise is changed.

What is installed is in no file of a project, so one stage, which DVC always runs, writes it down; the others depend
on that file, and run again when it says something else.
"""

from __future__ import annotations

import io
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from reprokit.errors import UsageError
from reprokit.pipeline.clean import ENVIRONMENT, place
from reprokit.pipeline.stages import Pipeline, Stage

__all__ = ["CLEAN_STAGE", "PARAMS", "entry", "generated_from", "merged", "merged_params", "names", "parsed"]

CLEAN_STAGE = "clean-notebooks"
PARAMS = "params.yaml"
_LISTS = ("deps", "params", "outs", "metrics", "plots")
_PRODUCTS = ("outs", "metrics", "plots")
_CLEANS = "reprokit step --clean"

Base = Callable[[str, str], Stage | None]  # the id of a run, the name of a stage → what it was inferred to be


def entry(stage: Stage, clean: str, *, environment: bool = True) -> dict[str, Any]:
    """Return what ``dvc.yaml`` says of a stage.

    Args:
        stage: paths are relative to the folder of ``dvc.yaml``.
        clean: the folder of the notebooks' code, and of what is installed.
        environment: whether it runs again when something else is installed.

    >>> entry(Stage(name="a", notebook="a b.ipynb", params={"n": 1}), "clean")["cmd"]
    "reprokit run 'a b.ipynb' --name a -f params.yaml:a"
    """
    code = place(clean, stage.notebook) if stage.notebook.endswith(".ipynb") else stage.notebook
    content: dict[str, Any] = {
        "cmd": shlex.join(_words(stage)),
        "deps": [code, *stage.deps, *([f"{clean}/{ENVIRONMENT}"] if environment else [])],
        "params": [stage.name] if stage.params else [],
        "outs": list(stage.outs),
        "metrics": list(stage.metrics),
        "plots": list(stage.plots),
        "meta": {"reprokit": {"run": stage.run}},
    }
    return {key: value for key, value in content.items() if value}


def _words(stage: Stage) -> list[str]:
    """Return the command line of a stage: the same everywhere, and no parameter crosses a shell."""
    is_notebook = stage.notebook.endswith(".ipynb")
    own = (posixpath.dirname(stage.notebook) or ".") if is_notebook else "."
    words = ["reprokit", "run", stage.notebook, "--name", stage.name]
    words += ["-f", f"{PARAMS}:{stage.name}"] if stage.params else []
    words += ["--seed", str(stage.seed)] if stage.seed is not None else []
    words += ["--cwd", stage.cwd] if stage.cwd != own else []
    return words + (["--", *stage.arguments] if stage.arguments else [])


# -- dvc.yaml -------------------------------------------------------------------------------------


def merged(text: str, pipeline: Pipeline, clean: str, *, base: Base) -> tuple[str, list[str]]:
    """Return ``dvc.yaml`` with the stages of a pipeline in it, and what a user should know of that.

    Args:
        text: the file as it is; empty when there is none.
        pipeline: paths are relative to the folder of ``dvc.yaml``.
        clean: the folder of the notebooks' code.
        base: what a stage was when it was last written.

    Raises:
        UsageError: the file is not valid, or a stage of that name is not reprokit's.
    """
    for path in (path for stage in pipeline.stages for path in (stage.notebook, *stage.deps, *stage.products)):
        if "${" in path:  # DVC fills that in, also in paths
            raise UsageError(f"DVC cannot have a file named {path!r}", remedy="rename it")
    document, yaml = parsed(text, "dvc.yaml")
    stages = document.setdefault("stages", CommentedMap())
    if not isinstance(stages, CommentedMap):
        raise UsageError("`stages` in dvc.yaml is no mapping", remedy="mend it; `dvc stage list` says how")
    notes: list[str] = []
    notebooks = [stage.notebook for stage in pipeline.stages if stage.notebook.endswith(".ipynb")]
    had_environment = _writes_environment(stages, clean)
    notes += _put_clean(stages, notebooks, clean)
    has_environment = _writes_environment(stages, clean)
    for stage in pipeline.stages:
        new = entry(stage, clean, environment=has_environment)
        there = stages.get(stage.name)
        if there is None:
            stages[stage.name] = new
            continue
        before = _before(there, stage, base)
        old = entry(before, clean, environment=had_environment) if before is not None else {}
        notes += _put(there, new, old, stage)
    return _dumped(document, yaml), notes


def _writes_environment(stages: CommentedMap, clean: str) -> bool:
    """Return whether a stage writes down what is installed: an older version wrote none, and hands may change it."""
    return f"{clean}/{ENVIRONMENT}" in names((stages.get(CLEAN_STAGE) or {}).get("outs") or ())


def _put_clean(stages: CommentedMap, notebooks: Sequence[str], clean: str) -> list[str]:
    """Let the stage that cleans notebooks know those of the pipeline, too."""
    there = stages.get(CLEAN_STAGE)
    if there is None:
        new = _clean_entry(notebooks, clean)
        stages.insert(0, CLEAN_STAGE, new)
        return []
    known = names(there.get("deps") or ())
    wanted = _clean_entry([*known, *(one for one in notebooks if one not in known)], clean)
    if there.get("cmd") != _clean_entry(known, clean)["cmd"]:
        return [f"{CLEAN_STAGE} was changed by hand: its command is left as it is"] if _missing(there, wanted) else []
    if _missing(there, _clean_entry([], clean)):  # written by an older version
        there["always_changed"] = True
    there["cmd"] = wanted["cmd"]
    for key in ("deps", "outs"):
        _merge_list(there, key, wanted[key], ())
    return []


def _missing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return not set(wanted["outs"]) <= set(names(there.get("outs") or ()))


def _clean_entry(notebooks: Sequence[str], clean: str) -> dict[str, Any]:
    return {
        "desc": "the notebooks' code, without what Jupyter saves besides, and what is installed",
        "cmd": f"{_CLEANS} {shlex.join([clean, *notebooks])}",
        "always_changed": True,
        "deps": list(notebooks),
        "outs": [f"{clean}/{ENVIRONMENT}", *(place(clean, one) for one in notebooks)],
    }


def _before(there: Any, stage: Stage, base: Base) -> Stage | None:
    """Return what a stage was when it was last written."""
    run = generated_from(there)
    if run is None:
        remedy = f"rename it, or capture the notebook under a name: `reprokit run {stage.notebook} --name NAME`"
        raise UsageError(f"dvc.yaml has a stage {stage.name} that is not reprokit's", remedy=remedy)
    return base(run, stage.name)


def _put(there: Any, new: Mapping[str, Any], old: Mapping[str, Any], stage: Stage) -> list[str]:
    """Change a stage that was generated before into what it is now."""
    if "do" in there or "matrix" in there:
        return [f"{stage.name} is a foreach or matrix by now: it is left as it is"]
    notes = _put_command(there, new["cmd"], old.get("cmd"), stage.name)
    placed = {name for key in _PRODUCTS for name in names(there.get(key) or ())}
    for key in _LISTS:
        wanted = [one for one in new.get(key, ()) if key not in _PRODUCTS or one not in placed - _in(there, key)]
        _merge_list(there, key, wanted, old.get(key, ()))
    there["meta"]["reprokit"]["run"] = stage.run
    return notes


def generated_from(there: Any) -> str | None:
    """Return the run that a stage was inferred from; None when it is not reprokit's."""
    try:
        return str(there["meta"]["reprokit"]["run"])
    except (KeyError, TypeError):
        return None


def _put_command(there: CommentedMap, new: str, old: str | None, name: str) -> list[str]:
    """Change the command; options that the user put behind it stay, and a command of the user's own stays whole."""
    has = str(there.get("cmd"))
    start = next((one for one in (new, old) if one and (has == one or has.startswith(f"{one} "))), None)
    if start is None:
        return [f"{name}: the command was changed by hand and is left as it is (it would be: {new})"]
    there["cmd"] = new + has[len(start) :]
    return []


def _merge_list(there: CommentedMap, key: str, new: Sequence[str], old: Sequence[str]) -> None:
    """Take out what only the old one had, and add what only the new one has."""
    has = there.get(key)
    if has is None:
        added = [one for one in new if one not in old]
        if added:
            there[key] = added
        return
    for at in reversed(range(len(has))):
        if _name(has[at]) in set(old) - set(new):
            del has[at]
    known = names(has)
    has.extend(one for one in new if one not in known and one not in old)
    if not has:
        del there[key]


def _in(there: Mapping[str, Any], key: str) -> set[str]:
    return set(names(there.get(key) or ()))


def names(items: Sequence[Any]) -> list[str]:
    """Return the paths of a list of ``dvc.yaml``, whose items are texts or mappings from a path to options."""
    return [_name(item) for item in items]


def _name(item: Any) -> str:
    return str(next(iter(item))) if isinstance(item, dict) and item else str(item)


# -- params.yaml ----------------------------------------------------------------------------------


def merged_params(text: str, pipeline: Pipeline, base: Callable[[str], Stage | None]) -> tuple[str, list[str]]:
    """Return ``params.yaml`` with a section for each stage that has parameters, and what is kept otherwise there.

    Args:
        text: the file as it is; empty when there is none.
        pipeline: the stages.
        base: what a stage was when it was last written, by its name.

    Raises:
        UsageError: the file is not valid, or has something else in the place of a section.
    """
    document, yaml = parsed(text, PARAMS)
    notes: list[str] = []
    for stage in pipeline.stages:
        if not stage.params:
            continue
        section = document.setdefault(stage.name, CommentedMap())
        if not isinstance(section, CommentedMap):
            remedy = "rename it, or capture the notebook under another name"
            raise UsageError(f"{stage.name} in {PARAMS} is no mapping", remedy=remedy)
        notes += _put_params(section, stage, base(stage.name))
    return (_dumped(document, yaml), notes) if document else (text, notes)


def _put_params(section: CommentedMap, stage: Stage, before: Stage | None) -> Iterator[str]:
    old = before.params if before is not None else {}
    for name, value in stage.params.items():
        if name not in section:
            if name not in old:
                section[name] = value
        elif _same(section[name], value):
            continue
        elif name in old and _same(section[name], old[name]):
            section[name] = value
        else:
            yield f"{stage.name}.{name} is {section[name]!r} in {PARAMS}, {value!r} in run {stage.run}: kept as it is"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


# -- text -----------------------------------------------------------------------------------------


def parsed(text: str, name: str) -> tuple[CommentedMap, YAML]:
    """Return a file's content, which keeps its comments, and what writes it as it was written.

    Raises:
        UsageError: it is not valid YAML, or no mapping.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # lines are never broken: a command is on one
    mapping, offset = _indents(text)
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    try:
        document = yaml.load(text) if text.strip() else CommentedMap()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise UsageError(f"{name} is not valid YAML{where}", remedy="mend it") from error
    document = CommentedMap() if document is None else document
    if not isinstance(document, CommentedMap):
        raise UsageError(f"{name} is no mapping", remedy="mend it")
    return document, yaml


def _indents(text: str) -> tuple[int, int]:
    """Return by how many spaces mappings, and the dashes of lists, are indented in a file."""
    mapping = re.search(r"^( +)[^\s#-]", text, re.MULTILINE)
    listed = re.search(r"^( *)[^\s#-][^\n]*:[ ]*(?:#[^\n]*)?\n(?:[ ]*#[^\n]*\n)*( *)- ", text, re.MULTILINE)
    offset = len(listed[2]) - len(listed[1]) if listed else 0
    return len(mapping[1]) if mapping else 2, max(offset, 0)


def _dumped(document: CommentedMap, yaml: YAML) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
