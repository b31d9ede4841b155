"""How a lock becomes an installed environment, in an empty place: hashes enforced, checked file by file.

Packages of an index are taken from the very addresses that were recorded, else from whatever index is set here;
either way their hashes decide. What no index has comes from the store, or from git at its commit. Knows uv and
pip as installers; it does not know where environments are kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from reprokit.capture.environment.environment import scan
from reprokit.capture.environment.installed import edited
from reprokit.errors import EnvironmentBuildError, ObjectCorrupt, ObjectMissing
from reprokit.replay import install_errors, interpreters, locked_files
from reprokit.replay.built import finish, python_of, site_of
from reprokit.replay.lock import Extra, Lock
from reprokit.replay.tools import find_uv, has_pip, run_tool
from reprokit.replay.wheelhouse import Wheelhouse
from reprokit.store.objects import Objects

__all__ = ["KERNEL_ADDED", "Installation"]

KERNEL_ADDED = "ipykernel and what it needs were added: the recorded environment had no kernel"


@dataclass(frozen=True, slots=True)
class Installation:
    """One environment to be made.

    Attributes:
        lock: what to install.
        objects: where its wheels are.
        target: the empty place.
        progress: is told what goes on.
        offline: without network: from the installer's cache, or from ``wheelhouse``.
        wheelhouse: where all packages are taken from; an index is not asked then.
        fresh: without what the installer has in its cache.
    """

    lock: Lock
    objects: Objects
    target: Path
    progress: Callable[[str], None]
    offline: bool = False
    wheelhouse: Wheelhouse | None = None
    fresh: bool = False

    def run(self) -> tuple[str, ...]:
        """Install everything, check it, declare it complete; return in what it is not what was recorded.

        Raises:
            EnvironmentBuildError: something could not be installed.
        """
        base, notes = interpreters.find(self.lock.implementation, self.lock.python)
        self.progress(f"making an environment with Python {self.lock.python}")
        self._make(base)
        self._packages({*self.lock.pins, *(extra.name for extra in self.lock.extras)})
        notes += self._kernel()
        self._check()
        self._mend()
        for extra in self.lock.extras:
            self._restore_origin(extra)
        if self.wheelhouse is not None:
            notes += self.wheelhouse.notes
        finish(self.target, self.lock.digest, notes)
        return notes

    def _make(self, base: Path) -> None:
        uv = find_uv()
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if uv is not None:
            self._run([uv, "venv", "--quiet", "--no-project", "--python", str(base), str(self.target)])
        else:
            self._run([str(base), "-m", "venv", "--without-pip", str(self.target)])

    def _packages(self, names: Collection[str]) -> None:
        """Install the named packages of the lock."""
        kept = locked_files.fitting(self.lock, self.objects)
        from_wheels = [extra for extra in self.lock.extras if extra.name in kept and extra.name in names]
        # A wheel of another platform's is no use; where the index has the source, that stands for it.
        others = [e for e in self.lock.extras if e.name in names and e.name not in {*kept, *self.lock.pins}]
        with tempfile.TemporaryDirectory(prefix="reprokit-environment-") as name:
            self._pins(Path(name), [pin for pin in self.lock.pins if pin in names and pin not in kept])
            wanted = [self._restored(extra, Path(name)) for extra in from_wheels]
            wanted += [self._fetched(extra) for extra in others]
            if wanted:
                self.progress(f"installing {len(wanted)} more from the store and from git")
                self._install("--no-deps", *wanted)

    def _pins(self, folder: Path, names: Collection[str]) -> None:
        """Install what comes from an index: from the recorded addresses, else from the index that is set here."""
        if not names:
            return
        self.progress(f"installing {len(names)} locked packages")
        had = self._from_addresses(folder, names) if self.wheelhouse is None else frozenset()
        text = self.lock.requirements_of({*names} - had)
        if text:
            path = folder / "requirements.txt"
            path.write_text(text if self.wheelhouse is None else self.wheelhouse.widened(text), "utf-8")
            self._install("--require-hashes", "--no-deps", "-r", str(path))

    def _from_addresses(self, folder: Path, names: Collection[str]) -> frozenset[str]:
        """Return what could be installed from its recorded address: all of which one is known, or nothing."""
        found, uv = locked_files.recorded(self.lock, self.objects, names), find_uv()
        if not found or uv is None:
            return frozenset()
        path = folder / "pylock.toml"
        path.write_text(locked_files.written(found, self.lock.python), "utf-8")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python_of(self.target))]
        done = run_tool([*command, *self._limits(), "-r", str(path)]).returncode == 0
        return frozenset(one["name"] for one in found) if done else frozenset()

    def _restored(self, extra: Extra, folder: Path) -> str:
        wheel = folder / (extra.digest or "")[-12:] / Path(extra.filename or "").name
        try:
            self.objects.restore(extra.digest or "", wheel)
        except (ObjectMissing, ObjectCorrupt) as error:
            raise install_errors.lost_wheel(extra, error) from error
        return str(wheel)

    def _fetched(self, extra: Extra) -> str:
        if extra.kind != "vcs":
            raise install_errors.other_platform(extra)
        if self.wheelhouse is not None:
            return self.wheelhouse.wheel_of(extra)
        url, hash_sign, fragment = (extra.url or "").partition("#")
        return f"{extra.name} @ {url}@{extra.commit}{hash_sign}{fragment}"

    def _kernel(self) -> tuple[str, ...]:
        """Install ipykernel where the recorded environment had none, without moving anything else."""
        extras = {extra.name: extra.version for extra in self.lock.extras}
        versions = {**self.lock.pins, **extras}
        if "ipykernel" in versions:
            return ()
        self.progress("installing ipykernel, which the recorded environment did not have")
        pins = (f"{name}=={version}\n" for name, version in {**versions, **self._installed(extras)}.items())
        with tempfile.TemporaryDirectory(prefix="reprokit-environment-") as name:
            constraints = Path(name, "constraints.txt")
            constraints.write_text("".join(pins), "utf-8")
            self._install("ipykernel", "--constraint", str(constraints))
        return (KERNEL_ADDED,)

    def _installed(self, names: Collection[str]) -> dict[str, str]:
        found = (one.distribution for one in scan([site_of(self.target)]))
        return {one.name: one.version for one in found if one.name in names}

    def _limits(self) -> list[str]:
        """Return the options that say where packages may come from."""
        limits = ["--no-cache"] if self.fresh else []
        if self.wheelhouse is not None:
            return [*limits, "--no-index", "--find-links", str(self.wheelhouse.folder)]
        return [*limits, "--offline"] if self.offline else limits

    def _install(self, *arguments: str) -> None:
        uv, python = find_uv(), str(python_of(self.target))
        alone = self.wheelhouse is not None  # whatever else is configured is not asked
        if uv is not None:
            own = ["--no-config", "--offline"] if alone else []
            self._run([uv, "pip", "install", "--quiet", *own, *self._limits(), "--python", python, *arguments])
        elif not has_pip():
            raise EnvironmentBuildError("there is neither uv nor pip here", remedy="pip install uv")
        elif self.offline and not alone:
            raise install_errors.offline_needs_wheels()
        else:
            command = [sys.executable, "-m", "pip", *(["--isolated"] if alone else []), "--python", python]
            self._run([*command, "install", "--quiet", *self._limits(), *arguments])

    def _run(self, command: Sequence[str]) -> None:
        result = run_tool(command, env={"UV_FIND_LINKS": ""} if self.wheelhouse is not None else {})
        if result.returncode != 0:
            raise install_errors.explained(result.stdout + result.stderr, offline=self.offline)

    def _check(self) -> None:
        """Refuse an environment that lacks something, whatever the installer said."""
        wanted = {*self.lock.pins, *(extra.name for extra in self.lock.extras)}
        missing = sorted(wanted - self._installed(wanted).keys())
        if missing:
            raise EnvironmentBuildError(
                f"the installer did not install {', '.join(missing[:5])}", remedy="run `reprokit doctor`"
            )

    def _mend(self) -> None:
        """Compare every file with what its wheel lists, and install once more what differs, without the cache.

        What is installed may share its files with the installer's cache, so whoever edits a package in place can
        change what is installed next. Still different: the wheel, whose hash is right, lists it wrongly.
        """
        wrong, uv = self._edited(), find_uv()
        if wrong and uv is not None:
            self.progress(f"installing {', '.join(sorted(wrong)[:3])} once more: the installer's cache was changed")
            python = str(python_of(self.target))
            self._run([uv, "pip", "uninstall", "--quiet", "--python", python, *sorted(wrong)])
            replace(self, fresh=True)._packages(wrong)

    def _edited(self) -> set[str]:
        found = scan([site_of(self.target)])
        with ThreadPoolExecutor() as pool:
            return {one.distribution.name for one, wrong in zip(found, pool.map(edited, found), strict=True) if wrong}

    def _restore_origin(self, extra: Extra) -> None:
        """Let a wheel from the store tell the origin that was recorded, not where it lay for a moment."""
        (path,) = (one.path for one in scan([site_of(self.target)]) if one.distribution.name == extra.name)
        told = path / "direct_url.json"
        told.unlink(missing_ok=True)  # it may be a hard link into the installer's cache: never write through it
        document = extra.direct_url()
        if document is not None:
            told.write_text(json.dumps(document), "utf-8")
