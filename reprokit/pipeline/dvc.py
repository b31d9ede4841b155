"""A pipeline as stages of DVC: plans what ``dvc.yaml`` and ``params.yaml`` become, writes them, and reads them back.

It knows where DVC's root is, how DVC is initialised and how it checks its files; their text is ``dvcfile``'s.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import posixpath
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from reprokit.capture.code.git import git
from reprokit.errors import GitError, UsageError
from reprokit.pipeline import dvcfile
from reprokit.pipeline.infer import of_run
from reprokit.pipeline.stages import Pipeline, Stage, covers
from reprokit.store.store import Store

__all__ = ["Change", "Plan", "carry_out", "nearest", "plan", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file and its text before (None: it was not there) and after."""

    path: Path
    before: str | None
    after: str

    def diff(self) -> str:
        """Return the change as a unified diff; empty when there is none."""
        name = self.path.name
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True), self.after.splitlines(keepends=True), name, name
        )
        return "".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be written.

    Attributes:
        pipeline: the stages, with paths relative to ``folder``.
        folder: where ``dvc.yaml`` is.
        init: DVC is to be initialised there.
        changes: the files that change.
        notes: what a user should know.
    """

    pipeline: Pipeline
    folder: Path
    init: bool
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def plan(store: Store, pipeline: Pipeline, *, seed: int | None = None) -> Plan:
    """Return what to write so that DVC runs a pipeline.

    Args:
        store: of the project; its paths are relative to that one's root.
        pipeline: what was inferred.
        seed: what to seed each stage's generators with.

    Raises:
        UsageError: the files there are not valid, a stage of the user's has a name that is needed, or git tracks
            what a stage is to write.
    """
    project = store.layout.project
    folder, has_dvc = _folder(project, pipeline)
    if seed is not None:
        stages = tuple(dataclasses.replace(stage, seed=seed) for stage in pipeline.stages)
        pipeline = dataclasses.replace(pipeline, stages=stages)
    moved = _moved(pipeline, project, folder)
    _refuse_tracked(folder, moved)
    bases: dict[str, Stage | None] = {}

    def base(run: str, name: str) -> Stage | None:
        found = of_run(store, run, name)
        bases[name] = None if found is None else _moved(Pipeline(stages=(found,)), project, folder).stages[0]
        return bases[name]

    texts = {name: _text(folder / name) for name in ("dvc.yaml", dvcfile.PARAMS)}
    definitions, notes = dvcfile.merged(texts["dvc.yaml"] or "", moved, _clean(store, folder), base=base)
    values, more = dvcfile.merged_params(texts[dvcfile.PARAMS] or "", moved, bases.get)
    after = {"dvc.yaml": definitions, dvcfile.PARAMS: values}
    return Plan(
        pipeline=moved,
        folder=folder,
        init=not has_dvc,
        changes=tuple(
            Change(path=folder / name, before=texts[name], after=after[name])
            for name in texts
            if (texts[name] or "") != after[name]
        ),
        notes=(*pipeline.notes, *notes, *more, *_unkept(folder, moved)),
    )


def carry_out(planned: Plan) -> None:
    """Write the files, having initialised DVC where it was not; they are as before when DVC does not accept them.

    Raises:
        UsageError: DVC does not accept them, such as when another of its files has the same output.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logger = logging.getLogger("dvc")
    level = logger.level
    try:
        if planned.init:
            logger.setLevel(logging.ERROR)  # it greets on stdout, which `--json` has for itself
            Repo.init(str(planned.folder), no_scm=not (planned.folder / ".git").exists()).close()
        for change in planned.changes:
            _write(change.path, change.after)
        with Repo(str(planned.folder)) as repo:
            repo.index.check_graph()
            list(repo.index.stages)
    except (DvcException, OSError, ValueError) as error:
        for change in planned.changes:
            _put_back(change)
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"DVC does not accept this pipeline ({problem})", remedy="see `dvc stage list`") from error
    finally:
        logger.setLevel(level)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(text, "utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _put_back(change: Change) -> None:
    if change.before is None:
        change.path.unlink(missing_ok=True)
    else:
        _write(change.path, change.before)


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", remedy="save it as UTF-8") from error


# -- where ----------------------------------------------------------------------------------------


def _folder(project: Path, pipeline: Pipeline) -> tuple[Path, bool]:
    """Return where ``dvc.yaml`` belongs, and whether DVC is there: the project root, or a DVC root inside it."""
    if any((folder / ".dvc").is_dir() for folder in (project, *project.parents)):
        return project, True
    notebooks = [project / stage.notebook for stage in pipeline.stages]
    inner = [folder for folder in notebooks[0].parents if folder.is_relative_to(project) and (folder / ".dvc").is_dir()]
    if inner and all(path.is_relative_to(inner[0]) for path in notebooks):
        return inner[0], True
    return project, False


def _clean(store: Store, folder: Path) -> str:
    """Return the folder of the notebooks' code: in the store, which git ignores, where DVC's root holds that."""
    root = store.layout.root
    return f"{root.relative_to(folder).as_posix()}/clean" if root.is_relative_to(folder) else ".clean-notebooks"


def _moved(pipeline: Pipeline, project: Path, folder: Path) -> Pipeline:
    """Return the pipeline with paths relative to another folder."""
    if folder == project:
        return pipeline

    def at(path: str) -> str:
        if path.startswith("/"):
            return path
        moved = posixpath.relpath((project / path).as_posix(), folder.as_posix())
        return f"{moved}/" if path.endswith("/") else moved

    stages = (
        dataclasses.replace(
            stage,
            notebook=at(stage.notebook),
            cwd=at(stage.cwd),
            deps=tuple(map(at, stage.deps)),
            outs=tuple(map(at, stage.outs)),
            metrics=tuple(map(at, stage.metrics)),
            plots=tuple(map(at, stage.plots)),
        )
        for stage in pipeline.stages
    )
    return dataclasses.replace(pipeline, stages=tuple(stages))


# -- git and DVC's other files --------------------------------------------------------------------


def _refuse_tracked(folder: Path, pipeline: Pipeline) -> None:
    """Say so when git tracks an output: DVC would refuse it after the stage has run."""
    tracked = _in_git(folder, [path for stage in pipeline.stages for path in stage.products])
    if tracked:
        remedy = f"let DVC have it: `git rm --cached {shlex.join(tracked)}`"
        raise UsageError(f"git tracks what a stage writes ({', '.join(tracked)})", remedy=remedy)


def _unkept(folder: Path, pipeline: Pipeline) -> list[str]:
    """Return which data of the project neither git nor DVC has, so that nobody else has it."""
    inside = [path for path in pipeline.inputs if not path.startswith(("/", "../")) and (folder / path).exists()]
    known = set(_in_git(folder, inside))
    return [
        f"{path} is in neither git nor DVC: `dvc add {shlex.quote(path)}` keeps it for others"
        for path in inside
        if not any(covers(path, one) for one in known) and not _in_dvc(folder / path)
    ]


def _in_git(folder: Path, paths: Iterable[str]) -> list[str]:
    named = [path for path in paths if not path.startswith(("/", "../"))]
    try:
        listed = git("ls-files", "-z", "--", *[f":(literal){path}" for path in named], cwd=folder) if named else b""
    except GitError:  # no repository
        return []
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _in_dvc(path: Path) -> bool:
    return any(Path(f"{one}.dvc").is_file() for one in (path, *path.parents))


# -- reading --------------------------------------------------------------------------------------


def nearest(project: Path) -> Path | None:
    """Return the ``dvc.yaml`` of the working directory, or of the next folder above it inside the project."""
    here = Path.cwd()
    above = [folder for folder in (here, *here.parents) if folder.is_relative_to(project)]
    return next((folder / "dvc.yaml" for folder in (*above, project) if (folder / "dvc.yaml").is_file()), None)


def read(path: Path, project: Path) -> Pipeline:
    """Return the stages of reprokit's that a ``dvc.yaml`` has, with today's parameters, as a pipeline.

    Stages of other tools are left out.

    Args:
        path: the file.
        project: what the pipeline's paths are relative to.

    Raises:
        UsageError: there is no such file, or it is not valid.
    """
    text = _text(path)
    if text is None:
        raise UsageError(f"there is no {path}", remedy="`reprokit step NOTEBOOK…` writes it")
    document, _ = dvcfile.parsed(text, path.name)
    params, _ = dvcfile.parsed(_text(path.with_name(dvcfile.PARAMS)) or "", dvcfile.PARAMS)
    stages = document.get("stages") or {}
    watched = frozenset(dvcfile.names((stages.get(dvcfile.CLEAN_STAGE) or {}).get("outs") or ()))
    found = [
        stage for name, content in stages.items() if (stage := _stage(str(name), content, params, watched)) is not None
    ]
    return _moved(Pipeline.of_stages(found), path.parent.resolve(), project.resolve())


def _stage(name: str, content: Any, params: Mapping[str, Any], watched: Collection[str]) -> Stage | None:
    """Return a stage; what is ``watched`` in its place is the notebook's code and what is installed."""
    run = dvcfile.generated_from(content)
    words = _words(str(content.get("cmd", ""))) if run is not None else []
    if words[:2] != ["reprokit", "run"] or len(words) < 3:
        return None
    notebook, seed = words[2], _option(words, "--seed")
    own = (posixpath.dirname(notebook) or ".") if notebook.endswith(".ipynb") else "."
    lists = {key: dvcfile.names(content.get(key) or ()) for key in ("deps", "outs", "metrics", "plots")}
    return Stage(
        name=name,
        notebook=notebook,
        cwd=_option(words, "--cwd") or own,
        params=_plain(params.get(name) or {}),
        deps=tuple(dep for dep in lists["deps"] if dep != notebook and dep not in watched),
        outs=tuple(lists["outs"]),
        metrics=tuple(lists["metrics"]),
        plots=tuple(lists["plots"]),
        run=run,
        seed=int(seed) if seed is not None and seed.isdigit() else None,
        arguments=tuple(words[words.index("--") + 1 :]) if "--" in words else (),
    )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _option(words: Sequence[str], name: str) -> str | None:
    return next((word for before, word in pairwise(words) if before == name), None)


def _plain(value: Any) -> Any:
    """Return what YAML gave without what it knows of comments."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
