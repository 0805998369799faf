"""Where runs are carried out: what is kept of them, how they are named, what their records say.

An experiment's own runner says what a run is made of and how it is trained; the rest is here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from repro.engine.jobs import Executor, Job, serial_executor
from repro.engine.progress import ProgressDisplay
from repro.engine.store import Store
from repro.engine.store import key as hash_key
from repro.errors import UserError
from repro.models.base import ModelType
from repro.training.compute import Compute, machine
from repro.training.trainer import Snapshot, Trainer

# Fields that may differ from seed to seed without making another kind of run.
PER_SEED = ("data_seed", "order", "subset")


class Diverged(UserError):
    """The training loss of a model is not finite."""


@dataclass(kw_only=True)
class Runner:
    """The kept runs, the device, the screen; ``about`` is what every record says of the command."""

    store: Store
    compute: Compute
    progress: ProgressDisplay
    provenance: dict[str, Any]
    executor: Executor = serial_executor
    report_only: bool = False
    # By arm, parameters and key: what is asked for twice, under two names, is trained once.
    finished: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    _keys: dict[Any, str] = field(default_factory=dict)

    def key(self, run: Any) -> str:
        """The name of a run: a hash of its settings, what it learns from, the data and the code; not of its role."""
        if run not in self._keys:
            where = [self.data_digest, self.compute.device.type, self.compute.precision]
            self._keys[run] = hash_key([self.settings_of(run), run.seed, self.key_inputs(run), where])
        return self._keys[run]

    def key_inputs(self, run: Any) -> list[Any]:
        """What decides a run, and its record, besides its own settings and the data: the code, for one."""
        raise NotImplementedError

    def settings_of(self, run: Any) -> dict[str, Any]:
        """A run's settings as plain JSON, with other runs by their keys; without what says nothing of the run."""
        return _plain_settings(run, self.key)

    def group(self, run: Any) -> str:
        """A hash that runs share which differ only in their seeds, and in the seeds of what they are made from."""
        return hash_key(_plain_settings(run, self.group, PER_SEED))

    def needs(self, run: Any) -> set[Any]:
        """The runs that must be kept before this one is made: those it is made from, and what they are made from."""
        values = [getattr(run, one.name) for one in fields(run)]
        each = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
        found = {one for one in each if is_dataclass(one)}
        return found.union(*(self.needs(one) for one in found))

    def is_finished(self, run: Any) -> bool:
        """Whether there is a record of it."""
        return self.store.record(self.key(run)) is not None

    def jobs(self, runs: list[Any]) -> list[Job]:
        """The work that makes these runs, none of which is finished."""
        raise NotImplementedError

    def plan(self, runs: Iterable[Any]) -> list[Job]:
        """The work that is still to be done for ``runs``; none when only what is finished counts."""
        if self.report_only:
            return []
        return self.jobs([run for run in {self.key(run): run for run in runs}.values() if not self.is_finished(run)])

    def expect(self, runs: Iterable[Any]) -> None:
        """Tell the watch how much work ``runs`` are."""
        self.progress.expect(sum(job.flops for job in self.plan(runs)))

    def execute(self, runs: Sequence[Any]) -> list[dict[str, Any]]:
        """Train what is not there yet; the records of ``runs``, in their order, of those that are finished."""
        self.executor(self.plan(runs))
        found = [(run, self.store.record(self.key(run))) for run in runs]
        records = [record | self.request_metadata(run) for run, record in found if record is not None]
        self.finished |= {(record["arm"], str(record["params"]), record["key"]): record for record in records}
        return records

    def request_metadata(self, run: Any) -> dict[str, Any]:
        """What asked for a run, as what, and for how many; when and on what it was trained stays as it was."""
        several = {"seeds": run.seeds} if hasattr(run, "seeds") else {}
        named = {"arm": run.arm, "params": _params(run), "group": self.group(run)}
        return {name: self.provenance[name] for name in ("profile", "overrides", "config")} | named | several

    def load_tensors(self, run: Any) -> dict[str, Tensor]:
        """What a finished run kept; it is carried out again where that is damaged.

        Raises:
            UserError: it is damaged and nothing is to be trained.
        """
        tensors = self.store.weights(self.key(run))
        if tensors is None:
            if self.report_only:
                raise UserError(f"--finished-only: a kept run was damaged ({run.arm}, seed {run.seed}); train it again")
            self.expect([run])
            self.execute([run])
            tensors = self.store.weights(self.key(run))
            assert tensors is not None, "they have just been written"
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
        for snapshot in trainer.run(num_evals, lambda: self.progress.advance(flops_per_step)):
            if not snapshot.loss.isfinite().all():
                raise Diverged(f"{name}: training diverged (the loss is not finite); {advice}")
            yield replace(snapshot, epoch=round(snapshot.epoch, 3))

    def record(
        self,
        run: Any,
        metrics: dict[str, Any],
        curve: list[Any],
        seconds: float,
        together: int = 1,
    ) -> dict[str, Any]:
        """A record: what was trained, what came out, what it cost, and where.

        Args:
            seconds: wall time of the run.
            together: how many runs shared the population that it was trained in.
        """
        return {
            "key": self.key(run), "group": self.group(run), "arm": run.arm, "params": _params(run), "seed": run.seed,
            "settings": self.settings_of(run),
            "metrics": metrics, "curve": curve, "wall_seconds": round(seconds, 2), "trained_together": together,
            **self.provenance, "machine": machine(self.compute), "data_digest": self.data_digest,
        }  # fmt: skip

    @property
    def data_digest(self) -> str:
        """The digest of the data that the runs are made on."""
        raise NotImplementedError


def round_loss(loss: float | Tensor) -> float:
    """Return a loss rounded to the four significant digits that records hold."""
    return float(f"{float(loss):.4g}")


def _plain_settings(run: Any, name_of: Callable[[Any], str], without: Sequence[str] = ()) -> dict[str, Any]:
    """The fields that determine a run, as plain JSON; other runs by what ``name_of`` calls them."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if is_dataclass(value):
            return name_of(value)
        return [plain(one) for one in value] if isinstance(value, tuple) else value

    named = [one.name for one in fields(run) if one.compare and one.name not in ("arm", "seed", *without)]
    return {name: plain(getattr(run, name)) for name in named} | {"run": type(run).__name__}


def _params(run: Any) -> dict[str, Any]:
    """What tells runs of one arm apart, such as the number of specialists; empty for most arms."""
    return dict(getattr(run, "params", ()))
