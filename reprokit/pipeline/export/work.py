"""What is exported: the jobs of a pipeline, each with the one command that does its work.

It knows stages and the step's command line; it does not know any orchestrator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from reprokit.digest import of_json
from reprokit.errors import UsageError
from reprokit.pipeline.export.names import dns_label
from reprokit.pipeline.spec import Spec, encode
from reprokit.pipeline.stages import Pipeline, Stage, covers
from reprokit.replay.exports import Export, Recorded

__all__ = ["Job", "Made", "Work", "one_file", "spec_of"]

_LONGEST = 100_000  # characters; Linux takes 131,072 for one word of a command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that one job makes and another one reads: the ``number``-th product, from 1, of the job ``by``."""

    by: str
    number: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage as a job.

    Attributes:
        stage: what it is made of.
        number: its place in the pipeline, from 0.
        level: 0 when it needs no other job, else one more than the highest level that it needs.
        after: the names of the jobs whose products it reads.
        takes: those products.
        spec: what the step command is given.
    """

    stage: Stage
    number: int
    level: int
    after: tuple[str, ...]
    takes: tuple[Made, ...]
    spec: Spec

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def products(self) -> tuple[str, ...]:
        """All that it writes."""
        return self.stage.products

    @property
    def reads(self) -> tuple[str, ...]:
        """The notebook and all that it reads."""
        return (self.stage.notebook, *self.stage.deps)

    @property
    def argument(self) -> str:
        """The spec as one word of letters, digits, ``-``, ``_``, ``=`` and ``:``.

        So it goes unharmed through every shell, template language and file format.
        """
        return encode(self.spec)

    @property
    def arguments(self) -> str:
        """What follows the interpreter's name on the step's command line."""
        return f"-m reprokit.step {self.argument}"

    @property
    def told(self) -> str:
        """What it runs, in one line of ASCII for a comment."""
        what = json.dumps(self.stage.notebook)[1:-1]
        params = f" with {json.dumps(self.stage.params, sort_keys=True)}" if self.stage.params else ""
        return f"{self.name}: {what}{params}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All that a target may need to know.

    Attributes:
        name: what the whole is called.
        jobs: each after those that it needs.
        python: the version of Python that the runs had, "3.11.7"; empty when it is not known.
        install: the user's command that puts a job's Python in order; empty when the lock is installed.
        image: the container image that has the project and its environment.
        checked: the ids of the runs that a CI system replays.
        base: the image that an image is made from, in place of Python's own; by digest, to be sure of it.
        up: the way from the folder of the exported file to the project root ("." when it lies there).
        down: the way back, from the project root to the folder of the exported file; None when it lies elsewhere.
        recorded: the environment that the runs had, with its lock.
    """

    name: str
    jobs: tuple[Job, ...]
    python: str = ""
    install: str = ""
    image: str = ""
    base: str = ""
    checked: tuple[str, ...] = ()
    up: str = "."
    down: str | None = "."
    recorded: Recorded | None = None

    @classmethod
    def of(cls, pipeline: Pipeline, name: str, *, reuse: bool = False, **more: Any) -> Work:
        """Return the work of a pipeline.

        Raises:
            UsageError: it has no stage, or parameters too large for a command line.

        Args:
            pipeline: the stages.
            name: what the whole is called.
            reuse: whether a step takes over the results of an unchanged run.
            more: the other attributes.
        """
        if not pipeline.stages:
            raise UsageError("there is nothing to export: the pipeline has no stage", remedy="name a run")
        jobs: dict[str, Job] = {}
        for number, stage in enumerate(pipeline.stages):
            after = pipeline.upstream(stage.name)
            jobs[stage.name] = Job(
                stage=stage,
                number=number,
                level=max((jobs[other].level + 1 for other in after), default=0),
                after=after,
                takes=tuple(made for other in after for made in _taken(jobs[other].stage, stage)),
                spec=spec_of(stage, reuse=reuse),
            )
            _require_short(jobs[stage.name])
        runs = tuple(dict.fromkeys(stage.run for stage in pipeline.stages if stage.run is not None))
        usual = {"image": f"{dns_label(name)}:latest", "checked": runs}
        return cls(name=name, jobs=tuple(jobs.values()), **{**usual, **more})

    @property
    def levels(self) -> list[list[Job]]:
        """The jobs by level: those of one need nothing of each other."""
        last = max(job.level for job in self.jobs)
        return [[job for job in self.jobs if job.level == level] for level in range(last + 1)]

    @property
    def digest(self) -> str:
        """What names all that is exported, whatever the target is."""
        jobs = [
            [job.name, job.spec.to_dict(), list(job.reads), list(job.products), list(job.after)] for job in self.jobs
        ]
        return of_json([self.name, jobs, self.python, self.install, self.image, self.base])

    @property
    def imaging(self) -> str:
        """What to do before jobs can run in the image."""
        return f"the jobs run in the image {self.image}, with the project in /work: --to docker describes it"

    @property
    def keeping(self) -> str:
        """What becomes of the runs of jobs whose container is gone when they are over."""
        return "A run outlives its container only if `remote` in [tool.reprokit], or REPROKIT_REMOTE, says where to."

    @property
    def outside(self) -> list[str]:
        """What is read and lies outside of the project: no checkout brings it."""
        return sorted({path for job in self.jobs for path in job.stage.deps if path.startswith("/")})


def spec_of(stage: Stage, *, reuse: bool = False) -> Spec:
    """Return the spec of the step that a stage is.

    >>> spec_of(Stage(name="fit", notebook="nb/fit.ipynb", cwd="nb", params={"lr": 0.1}, outs=("m.bin",))).outputs
    ('m.bin',)
    """
    is_notebook = stage.notebook.endswith(".ipynb")
    return Spec(
        notebook=stage.notebook if is_notebook else None,
        script=None if is_notebook else stage.notebook,
        arguments=() if is_notebook else stage.arguments,
        params=stage.params if is_notebook else {},
        seed=stage.seed,
        name=stage.name,
        cwd=stage.cwd,
        inputs=stage.deps,
        outputs=stage.products,
        reuse=reuse,
    )


def _taken(maker: Stage, reader: Stage) -> list[Made]:
    """Return what a stage reads of another one's products."""
    return [
        Made(by=maker.name, number=number, path=path)
        for number, path in enumerate(maker.products, start=1)
        if any(covers(path, dep) for dep in reader.deps)
    ]


def _require_short(job: Job) -> None:
    size = len(job.argument)
    if size > _LONGEST:
        problem = f"the parameters and files of {job.name} are too many for a command line ({size:,} characters)"
        raise UsageError(problem, remedy="let the notebook read them from a file")


def one_file(name: str, text: str, *notes: str) -> Export:
    """Return an export that is one file, with what to know of it."""
    return Export(main=name, texts={name: text}, notes=tuple(note for note in notes if note))
