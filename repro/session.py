"""What every command that trains does first: read settings, choose the device, lock the runs folder."""

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro import config
from repro.engine import files, local_pool, store
from repro.engine.jobs import Executor
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.training import compute

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Options:
    """The options that all training commands share, as given on the command line."""

    profile: str
    overrides: list[str]
    data: Path | None
    runs: Path
    out: Path | None
    device: str
    precision: str
    report_only: bool
    executor: str = "local"

    def folder(self, experiment: str) -> Path:
        """Where results go: here for the whole of an unchanged profile whose results are committed, else under
        ``runs``."""
        if self.out:
            return self.out
        known = self.profile in config.COMMITTED[experiment]
        changed = bool(self.overrides) or (self.device, self.precision) != ("auto", "auto")
        if known and not changed and not self.report_only:
            return Path()
        return self.runs / ((Path(self.profile).stem.strip(".") or "own") + ("-changed" if changed or known else ""))


@contextlib.contextmanager
def opened(
    experiment: str,
    options: Options,
    out: Path,
    model: type[config.Settings],
    make_runner: Callable[..., Runner],
) -> Iterator[tuple[Any, Any]]:
    """Settings and a runner, with the runs folder held; settings are checked before anything is read.

    ``make_runner(settings, **shared)`` reads the data and gives the experiment's own runner.
    """
    path = config.profile_path(experiment, options.profile)
    settings = config.load(model, path, options.overrides, experiment)
    chosen = compute.choose(options.device, options.precision)
    files.check_writable(out)
    make_executor = executor(options.executor)
    with store.opened(options.runs / experiment) as runs, ProgressDisplay(experiment) as progress:
        provenance = {
            "experiment": experiment, "profile": options.profile, "overrides": options.overrides,
            "config": str(path if options.profile.endswith(".toml") else config.CONFIGS / experiment / path.name),
            "commit": commit(),
        }  # fmt: skip
        runner = make_runner(settings, store=runs, compute=chosen, progress=progress, provenance=provenance)
        runner.report_only, runner.executor = options.report_only, make_executor(runner)
        progress.say(f"{experiment}, profile {path.stem}: {chosen.device.type}, {chosen.precision}; "
                  f"runs are kept in {runs.folder}, results go to {out / 'results'}")  # fmt: skip
        try:
            yield settings, runner
        finally:
            runner.executor.close()


def executor(name: str) -> Callable[[Runner], Executor]:
    """What makes the executor of a name for a runner; a cluster is joined at once.

    Raises:
        UserError: there is none of that name, Ray is not installed, or there is no cluster.
    """
    if name not in EXECUTORS:
        raise UserError(f"--executor: must be one of {', '.join(EXECUTORS)}, not {name!r}")
    if name == "local":
        return local_pool.local
    try:
        from repro.engine import ray_pool
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError('--executor ray: Ray is not installed; pip install -e ".[ray]" in the checkout') from error
    ray_pool.join()
    return ray_pool.Cluster


@functools.cache
def commit() -> str:
    """The commit this code stands at, with ``-dirty`` where it was changed; ``unknown`` outside a checkout."""
    here = Path(__file__).parents[1]
    git: Callable[..., str] = lambda *words: subprocess.run(  # noqa: E731
        ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here.resolve():
            return "unknown"  # installed somewhere inside a repository that is not this one
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "repro", "paper_configs")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
