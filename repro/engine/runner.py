"""Base class of the experiments' runners: keys of runs, planning and execution of jobs, training loop, records.

A subclass defines the jobs of its runs, the digest of its data and the further inputs of its keys.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from repro.engine.curves import CurveLog
from repro.engine.jobs import Executor, Job, serial_executor
from repro.engine.progress import ProgressDisplay
from repro.engine.store import Store
from repro.engine.store import key as hash_key
from repro.errors import UserError
from repro.models.base import ModelType
from repro.training.compute import Compute, machine
from repro.training.trainer import Snapshot, Trainer

# Fields that may differ between seeds of the same configuration.
PER_SEED = ("data_seed", "order", "subset")


class Diverged(UserError):
    """The training loss or a result of a model is not finite."""


@dataclass(kw_only=True)
class Runner:
    """Planner and executor of runs; a subclass adds settings and data as fields.

    Attributes:
        store: stored runs.
        compute: device and precision.
        progress: progress display.
        provenance: fields of every record that describe the command: profile, overrides, commit.
        executor: executor of jobs. Default: serial.
        report_only: train nothing and use the finished runs alone. Default: no.
        first_seed: first seed to train. Default: 0.
        earlier: records of the seeds before it. Default: none.
        curves: event files that the training curves are written to. Default: none.
        keeps_caches: whether files in the runs folder that only speed up later runs are worthwhile. Default: yes.
        finished: records of executed runs, by arm, parameters and key.
    """

    store: Store
    compute: Compute
    progress: ProgressDisplay
    provenance: dict[str, Any]
    executor: Executor = serial_executor
    report_only: bool = False
    first_seed: int = 0
    earlier: Sequence[dict[str, Any]] = ()
    curves: CurveLog | None = None
    keeps_caches: bool = True
    finished: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    _keys: dict[Any, str] = field(default_factory=dict)
    # Requested runs by key; runs of several arms may share one.
    _requested: dict[str, list[Any]] = field(default_factory=dict)

    def key(self, run: Any) -> str:
        """Return the key of a run: a hash of settings, seed, data, code, device and precision; not of its arm."""
        if run not in self._keys:
            environment = [self.data_digest, self.compute.device.type, self.compute.precision]
            self._keys[run] = hash_key([self.settings_of(run), run.seed, self.key_inputs(run), environment])
        return self._keys[run]

    def key_inputs(self, run: Any) -> list[Any]:
        """Return what determines a run and its record besides its settings and the data, such as the code version."""
        raise NotImplementedError

    def settings_of(self, run: Any) -> dict[str, Any]:
        """Return the settings that determine a run as plain JSON; runs that it depends on are given by their keys."""
        return _plain_settings(run, self.key)

    def group(self, run: Any) -> str:
        """Return a hash of the configuration without seeds: runs that differ in their seeds alone share it."""
        return hash_key(_plain_settings(run, self.group, PER_SEED))

    def dependencies(self, run: Any) -> set[Any]:
        """Return all runs that must be stored before this one is made, the indirect ones included."""
        values = [getattr(run, field.name) for field in fields(run)]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        direct = {item for item in flat if is_dataclass(item)}
        return direct.union(*(self.dependencies(other) for other in direct))

    def is_finished(self, run: Any) -> bool:
        """Return whether the store has a record of a run."""
        return self.store.record(self.key(run)) is not None

    def jobs(self, runs: list[Any]) -> list[Job]:
        """Return the jobs that make these runs, none of which is finished."""
        raise NotImplementedError

    def plan(self, runs: Iterable[Any]) -> list[Job]:
        """Return the jobs of the unfinished runs, each once; none if ``report_only``."""
        return [] if self.report_only else self.jobs(self._unfinished(runs))

    def _unfinished(self, runs: Iterable[Any]) -> list[Any]:
        return [run for run in {self.key(run): run for run in runs}.values() if not self.is_finished(run)]

    def _without_weights(self, runs: Iterable[Any]) -> list[Any]:
        """Return the runs that unfinished ones depend on and of which only records are known."""
        if self.store.has_all_weights:
            return []
        others = {self.key(other): other for run in self._unfinished(runs) for other in self.dependencies(run)}
        return [run for key, run in others.items() if self.is_finished(run) and not self.store.has_weights(key)]

    def expect(self, runs: Iterable[Any]) -> None:
        """Add the operations of the unfinished runs to the expected work of the progress display."""
        self.progress.expect(sum(job.flops for job in self.plan(runs)))

    def execute(self, runs: Sequence[Any]) -> list[dict[str, Any]]:
        """Execute the unfinished runs, and return the records of the finished ones in the order of ``runs``."""
        for run in runs:
            if run not in (same := self._requested.setdefault(self.key(run), [])):
                same.append(run)
        if again := [] if self.report_only else self._without_weights(runs):
            self.progress.expect(sum(job.flops for job in self.jobs(again)))
            missing = [*again, *self._unfinished(runs)]
            self.executor(self.jobs(sorted(missing, key=lambda run: len(self.dependencies(run)))))
            for run in again:
                self._add_finished(self._requested.get(self.key(run), ()))
        else:
            self.executor(self.plan(runs))
        return self._add_finished(runs)

    def _add_finished(self, runs: Iterable[Any]) -> list[dict[str, Any]]:
        """Add the records of the finished runs to ``finished`` and return them."""
        stored = [(run, self.store.record(self.key(run))) for run in runs]
        records = [record | self.request_metadata(run) for run, record in stored if record is not None]
        self.finished |= {(record["arm"], str(record["params"]), record["key"]): record for record in records}
        return records

    def request_metadata(self, run: Any) -> dict[str, Any]:
        """Return the fields of a record that describe this request of a run rather than its training."""
        seeds = {"seeds": run.seeds} if hasattr(run, "seeds") else {}
        names = {"arm": run.arm, "params": _params(run), "group": self.group(run)}
        return {name: self.provenance[name] for name in ("profile", "overrides", "config")} | names | seeds

    def remove_caches(self) -> None:
        """Remove files in the runs folder that are of no use once all runs are finished."""

    def load_tensors(self, run: Any) -> dict[str, Tensor]:
        """Return the stored tensors of a run.

        It is executed again if they are corrupt, and with it the runs of this command that it was trained together
        with: they share the file, and alone the run would be another one up to rounding.

        Raises:
            UserError: they are corrupt and ``report_only`` forbids training, or the file cannot be read.
        """
        key = self.key(run)
        together = [self._requested[other][0] for other in self.store.trained_together(key) if other in self._requested]
        tensors = self.store.weights(key) if self.is_finished(run) else None
        if tensors is None:
            if self.report_only:
                raise UserError(
                    f"--report-only: missing or corrupt weights ({run.arm}, seed {run.seed}); train the run again"
                )
            again = list({self.key(other): other for other in (*together, run)}.values())
            self.expect(again)
            self.execute(again)
            tensors = self.store.weights(key)
            assert tensors is not None, "the run was executed again"
        return tensors

    def train_loop(
        self, trainer: Trainer[ModelType], num_evals: int, flops_per_step: float, *, name: str, advice: str
    ) -> Iterator[Snapshot[ModelType]]:
        """Train to the last step with the progress display up to date, and yield the snapshots to be evaluated.

        Args:
            trainer: the trainer, at its start or at its checkpoint.
            num_evals: number of snapshots, evenly spaced, the last one at the end.
            flops_per_step: floating-point operations of a step, of all models that are trained together.
            name: name of the run in the error message.
            advice: which settings to change if the training diverges.

        Yields:
            Snapshots, with the epoch rounded to three decimals as in records.

        Raises:
            Diverged: the loss of a model is not finite.
        """
        self.progress.expect(-flops_per_step * trainer.step)  # done before resuming
        try:
            for snapshot in trainer.run(num_evals, lambda: self.progress.advance(flops_per_step)):
                if not snapshot.loss.isfinite().all():
                    raise Diverged(f"{name}: training diverged (the loss is not finite); {advice}")
                yield replace(snapshot, epoch=round(snapshot.epoch, 3))
        finally:
            if self.curves is not None:
                self.curves.close()

    def require_finite(self, run: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics of a trained network.

        Raises:
            Diverged: one is not finite, as after a last step that no loss was computed for.
        """
        try:
            json.dumps(metrics, allow_nan=False)
        except ValueError as error:
            raise Diverged(
                f"{run.arm}, seed {run.seed}: training diverged (a result is not finite); lower its learning_rate"
            ) from error
        return metrics

    def log(self, runs: Sequence[Any], snapshot: Snapshot[Any], values: Mapping[str, Sequence[float]]) -> None:
        """Write training loss and other values of runs that are trained together, if curves are asked for.

        Args:
            runs: the runs.
            snapshot: their networks at a step.
            values: a value for each run, by the name of the curve.
        """
        if self.curves is None:
            return
        for number, (run, loss) in enumerate(zip(runs, snapshot.loss.tolist(), strict=True)):
            parts = [str(value).replace("/", "_") for value in (run.arm, *_params(run).values())]
            name = "/".join([*parts, f"seed_{run.seed}_{self.key(run)}"])
            of_run = {curve: several[number] for curve, several in values.items()}
            try:
                self.curves.write(name, snapshot.step, {"training_loss": loss} | of_run)
            except OSError as error:
                self.progress.say(f"--log tensorboard: {error.strerror or error}; no further curves are written")
                self.curves.close()
                self.curves = None
                return

    def record(
        self,
        run: Any,
        metrics: dict[str, Any],
        curve: list[Any],
        seconds: float,
        together: int = 1,
    ) -> dict[str, Any]:
        """Return the record of a run.

        Args:
            run: the run.
            metrics: results of its evaluation.
            curve: points of its training curve.
            seconds: wall time of the run in seconds.
            together: number of runs that were trained as one batch of networks. Default: 1.
        """
        return {
            "key": self.key(run), "group": self.group(run), "arm": run.arm, "params": _params(run), "seed": run.seed,
            "settings": self.settings_of(run),
            "metrics": metrics, "curve": curve, "wall_seconds": round(seconds, 2), "trained_together": together,
            **self.provenance, "machine": machine(self.compute), "data_digest": self.data_digest,
        }  # fmt: skip

    @property
    def data_digest(self) -> str:
        """Digest of the data that the runs use."""
        raise NotImplementedError


def round_loss(loss: float | Tensor) -> float:
    """Return a loss rounded to the four significant digits that records hold."""
    return float(f"{float(loss):.4g}")


def _plain_settings(run: Any, name_of: Callable[[Any], str], without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields that determine a run as plain JSON, with other runs replaced by ``name_of`` of them."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if is_dataclass(value):
            return name_of(value)
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    names = [field.name for field in fields(run) if field.compare and field.name not in ("arm", "seed", *without)]
    return {name: plain(getattr(run, name)) for name in names} | {"run": type(run).__name__}


def _params(run: Any) -> dict[str, Any]:
    """Return the parameters that distinguish the runs of an arm, such as the number of specialists."""
    return dict(getattr(run, "params", ()))
