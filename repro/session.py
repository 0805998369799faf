"""Preparation of training commands: read settings, choose the device, lock the runs folder, make the runner."""

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro import config
from repro.data.download import data_folder
from repro.engine import files, local_pool, store
from repro.engine.curves import CurveLog, summary_writer
from repro.engine.jobs import Executor
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.names import text_of
from repro.training import compute

EXECUTORS = ("local", "ray")
LOGS = ("none", "tensorboard")


@dataclass(frozen=True)
class Options:
    """Options that all training commands share, as given on the command line."""

    profile: str
    overrides: list[str]
    data: Path | None
    runs: Path
    out: Path | None
    device: str
    precision: str
    report_only: bool
    executor: str = "local"
    log: str = "none"
    first_seed: int = 0
    reuse_records: bool = False

    def folder(self, experiment: str) -> Path:
        """Return the parent directory of results/ and figures/.

        It is ``--out`` if given, the working directory for an unchanged profile whose results are committed, and a
        directory below ``--runs`` otherwise.
        """
        if self.out:
            return self.out
        committed = self.profile in config.COMMITTED[experiment]
        changed = bool(self.overrides) or (self.device, self.precision) != ("auto", "auto")
        if committed and not changed and not self.report_only:
            return Path()
        name = Path(self.profile).stem.strip(".") or "own"
        return self.runs / (f"{name}-changed" if changed or committed else name)


@contextlib.contextmanager
def training_session(
    experiment: str,
    options: Options,
    out: Path | None,
    settings_class: type[config.Settings],
    make_runner: Callable[..., Runner],
) -> Iterator[tuple[Any, Any]]:
    """Yield settings and runner of an experiment; the runs folder is locked until the block ends.

    Settings are validated before any data are read.

    Args:
        experiment: name of the experiment, and of its folder below ``options.runs``.
        out: parent directory of results/ and figures/; None for a command that writes none.
        settings_class: class of the experiment's settings.
        make_runner: called as ``make_runner(settings, **shared)``; reads the data and returns the runner.

    Raises:
        UserError: a setting or an option is wrong, the data cannot be read, ``out`` or the runs folder cannot be
            written or is on an almost full disk, or another command has locked the runs folder.
    """
    path = config.profile_path(experiment, options.profile)
    settings = config.load(settings_class, path, options.overrides, experiment)
    device = compute.choose(options.device, options.precision)
    data_folder(options.data)
    if out is not None:
        files.check_writable(out)
        files.check_free(out)
    make_executor, curves = executor(options.executor), curve_log(options)
    opened = store.opened(options.runs / experiment, repairs=not options.report_only)
    with opened as runs, ProgressDisplay(experiment) as progress:
        provenance = {
            "experiment": experiment, "profile": text_of(options.profile),
            "overrides": [text_of(override) for override in options.overrides],
            "config": text_of(path if options.profile.endswith(".toml") else config.CONFIGS / experiment / path.name),
            "commit": commit(),
        }  # fmt: skip
        runner = make_runner(settings, store=runs, compute=device, progress=progress, provenance=provenance)
        runner.report_only, runner.curves, runner.first_seed = options.report_only, curves, options.first_seed
        runner.executor = make_executor(runner)
        progress.say(
            f"{experiment}, profile {path.stem}: {device.device.type}, {device.precision}; "
            f"runs are stored in {runs.folder}" + (f", results in {out / 'results'}" if out is not None else "")
        )
        if curves is not None:
            progress.say(f"curves: tensorboard --logdir {curves.folder}")
        try:
            yield settings, runner
            if not options.report_only:
                runner.remove_caches()
        finally:
            runner.executor.close()


def curve_log(options: Options) -> CurveLog | None:
    """Return where training curves are written to while networks train; None where they are not.

    Raises:
        UserError: there is no such kind of log, TensorBoard is not installed, the folder cannot be written, or workers
            are elsewhere.
    """
    if options.log not in LOGS:
        raise UserError(f"--log: must be one of {', '.join(LOGS)}, not {options.log!r}")
    if options.log == "none":
        return None
    if options.executor != "local":
        raise UserError("--log tensorboard: only with --executor local, whose workers can write to the runs folder")
    summary_writer()
    folder = options.runs / "tensorboard"
    files.check_writable(folder)
    return CurveLog(folder)


def executor(name: str) -> Callable[[Runner], Executor]:
    """Return the factory of an executor, which makes the executor from a runner; ``ray`` joins the cluster at once.

    Args:
        name: one of ``EXECUTORS``.

    Raises:
        UserError: there is no such executor, Ray is not installed, or there is no cluster.
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
    """Return the commit of this code, with ``-dirty`` if files differ from it; ``unknown`` outside a checkout."""
    root = Path(__file__).parents[1]
    git: Callable[..., str] = lambda *words: subprocess.run(  # noqa: E731
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, errors="surrogateescape"
    ).stdout.strip()
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"  # installed somewhere inside a repository that is not this one
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "repro", "paper_configs")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
