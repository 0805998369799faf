"""How the runs of the variants are made: trained, averaged, or timed."""

import contextlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.data.sources import fewer, load
from repro.data.types import ImageData, ImageSet
from repro.engine import store
from repro.engine.jobs import Job
from repro.engine.local_pool import PROCESS_BYTES
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.evaluation import metrics
from repro.kd.losses import arithmetic_mean
from repro.training import compute
from repro.training.trainer import TrainerContext
from repro.variants import methods, models
from repro.variants.cost import TIMINGS, spread_steps, step_bytes
from repro.variants.runs import Cost, Ensemble, Net, Run, teacher
from repro.variants.settings import VariantsSettings
from repro.variants.training import Distillation, DistillationTrainer, assemble

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
RECORD_VERSION = 1

# The same, of what a cost is.
TIMING_VERSION = 1

# The modules that decide what a run's weights become; with the method's own file.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/conv.py", "training/images.py", "training/random_streams.py", "training/recipe.py",
    "training/trainer.py", "variants/features.py", "variants/methods/base.py", "variants/models.py",
    "variants/training.py",
)  # fmt: skip


@dataclass(kw_only=True)
class VariantsRunner(Runner):
    """Runs on one test bench; each is a job of its own."""

    settings: VariantsSettings
    data: ImageData
    _on_test: dict[str, Tensor] = field(default_factory=dict)

    @property
    def data_digest(self) -> str:
        """The digest of the data that the runs are made on."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """The code, with the method's own; how many training images there are; how long a cost is timed, or whose
        predictions a net's are compared with."""
        code = CODE_DEPENDENCIES + ((f"variants/methods/{run.method}.py",) if isinstance(run, Net) else ())
        taught = teacher(self.settings)
        measured_by: Any = self.key(taught) if run != taught else None
        if isinstance(run, Cost):
            measured_by = [TIMING_VERSION, self.settings.cost_steps]
        return [RECORD_VERSION, len(self.data.train), measured_by, store.code_version(code)]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """As of every run; a method's options in full, shapes by their names."""
        found = super().settings_of(run)
        if isinstance(run, Net):
            found["options"] = methods.find(run.method).Options(**json.loads(run.options)).model_dump(mode="json")
            found["shape"] = str(run.shape)
            if run.teacher is not None:
                found |= {"teacher_shape": str(run.teacher.shape), "teacher_epochs": run.teacher.recipe.epochs}
        return found

    def request_metadata(self, run: Run) -> dict[str, Any]:
        """As of every run; and which row the others are compared with."""
        return super().request_metadata(run) | {"baseline": self.settings.baseline.name}

    def needs(self, run: Run) -> set[Run]:
        """As of every run; and the bench's teacher, which predictions are compared with."""
        return super().needs(run) | {teacher(self.settings)} - {run}

    def check(self) -> None:
        """Refuse what the nets do not bear, such as a module that is not there, before anything is trained.

        Raises:
            UserError: it is named.
        """
        for plan in self.settings.methods:
            method = methods.find(plan.method)
            for candidate in plan.candidates:
                student, taught = (
                    models.make(one.shape, self.data, 0) for one in (self.settings.student, self.settings.teacher)
                )
                assemble(
                    student, taught if method.has_teacher else None, method, method.Options(**candidate), self.data, 0
                )

    def jobs(self, runs: list[Run]) -> list[Job]:
        """A job for each run, a teacher's before its students'."""
        each = {"cpus": 1, "memory_bytes": PROCESS_BYTES}
        return [
            Job(f"{run.arm}, seed {run.seed}", self.make, (run,), self.flops(run), here=isinstance(run, Cost), **each)
            for run in runs
        ]

    def flops(self, run: Run) -> float:
        """The arithmetic of training: forward and twice as much backward, and the teacher's forward."""
        if not isinstance(run, Net):
            return 1.0
        each = 6.0 * models.multiply_adds(run.shape, self.data)
        if run.teacher is not None:
            each += 2.0 * models.multiply_adds(run.teacher.shape, self.data)
        return each * run.recipe.batch_size * run.recipe.steps(len(self.data.train))

    def make(self, run: Run) -> None:
        """Train, average or time, measure, and keep the record."""
        with compute.threads(1) if isinstance(run, Cost) else contextlib.nullcontext():  # as nets are trained
            self._make(run)

    def _make(self, run: Run) -> None:
        start, earlier, curve, tensors = time.monotonic(), 0.0, [], {}
        self.progress.now(f"{run.arm}, seed {run.seed}")
        if isinstance(run, Net):
            training = self.training(run, self.store.checkpoint(self.key(run)))
            earlier = training.seconds
            try:
                self.train(run, training)
                found = self.measured(run, lambda cases: training.net.logits(cases.images)[0])
            except Diverged:
                if not is_search(run):
                    raise
                found = {"diverged": True}  # it is not chosen, and the others go on
            curve = training.history
            tensors = {name: value[None] for name, value in training.net.student.state_dict().items()}
        elif isinstance(run, Ensemble):
            found = self.measured(run, lambda cases: self.mean(run, cases))
        else:
            found = self.timed(run)
        seconds = earlier + time.monotonic() - start
        self.store.add(self.key(run), [self.record(run, found, curve, seconds)], tensors)

    def training(self, run: Net, checkpoint: Path | None) -> DistillationTrainer:
        """A student at its start or at its checkpoint."""
        method = methods.find(run.method)
        student = models.make(run.shape, self.data, run.seed)
        taught = self.net_of(run.teacher) if run.teacher is not None else None
        options = method.Options(**json.loads(run.options))
        return DistillationTrainer(
            student=student,
            distillation=Distillation(method, options, taught, run.view),
            data=self.data,
            seed=run.seed,
            context=TrainerContext(recipe=run.recipe, compute=self.compute, checkpoint=checkpoint),
            order=run.order,
        )

    def train(self, run: Net, training: DistillationTrainer) -> None:
        """Train to the end; the history becomes the curve of (epoch, training loss)."""
        flops = self.flops(run) / training.steps
        self.progress.expect(-flops * training.step)  # done in an earlier sitting
        for snapshot in training.run(10, lambda: self.progress.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise Diverged(
                    f"{run.arm}, {run.options}: training diverged (the loss is not finite); "
                    "lower its learning_rate or the method's weight"
                )
            training.history.append([round(snapshot.epoch, 3), float(f"{float(snapshot.loss):.4g}")])

    def net_of(self, run: Net) -> models.Net:
        """A finished net."""
        net = models.make(run.shape, self.data, run.seed)
        net.load_state_dict({name: value[0] for name, value in self.load_tensors(run).items()})
        return net.to(self.compute.device)

    def mean(self, run: Ensemble, cases: ImageSet) -> Tensor:
        """Logits of the mean of the nets' probabilities."""
        return arithmetic_mean(torch.stack([self.net_of(net).logits(cases.images)[0] for net in run.nets]))

    def measured(self, run: Net | Ensemble, logits: Callable[[ImageSet], Tensor]) -> dict[str, Any]:
        """Errors, likelihood and calibration; how often a net names the same class on test as the bench's teacher, and
        as its own. Of a candidate on validation alone."""
        said = logits(self.data.validation)
        found = metrics.of_part("validation", said, self.data.validation.labels)
        if is_search(run):
            return found
        said = logits(self.data.test)
        found |= metrics.of_part("test", said, self.data.test.labels)
        if isinstance(run, Net):
            found["weights"] = models.count(run.shape, self.data)
        for name, taught in (("bench", teacher(self.settings)), ("own", getattr(run, "teacher", None))):
            if taught is not None and taught != run:
                found[f"test_agreement_{name}"] = metrics.agreement(said, self.on_test(taught))
        return found

    def on_test(self, run: Net) -> Tensor:
        """A finished net's logits on test; the last few are kept, for many runs in a row ask for the same."""
        key = self.key(run)
        if key not in self._on_test:
            self._on_test = dict(list(self._on_test.items())[-3:]) | {
                key: self.net_of(run).logits(self.data.test.images)[0]
            }
        return self._on_test[key]

    def timed(self, run: Cost) -> dict[str, Any]:
        """Seconds of some steps of each net and of plain distillation, in turn, and bytes that a step of each keeps."""
        sides = [self.training(net, None) for net in (*run.nets, run.plain)]
        ratios, plain = [], []
        for number in range(TIMINGS + 1):
            seconds = [0.0] * len(sides)
            for place in sorted(range(len(sides)), reverse=bool(number % 2)):  # neither is always the last
                seconds[place] = spread_steps(sides[place], self.settings.cost_steps)
            *mine, theirs = seconds
            if number:  # the first of each pays for memory and thread pools
                ratios.append(sum(mine) / theirs)
                plain.append(theirs / self.settings.cost_steps)
        *memory, plain_memory = (step_bytes(side) for side in sides)
        return {
            "time_over_plain": statistics.median(ratios), "time_low": min(ratios), "time_high": max(ratios),
            "plain_step_seconds": statistics.median(plain),
            "memory_over_plain": max(memory) / plain_memory, "step_bytes": max(memory),
        }  # fmt: skip


class Diverged(UserError):
    """The loss of a net that was trained is not finite."""


def is_search(run: Run) -> bool:
    """Whether a run is there to be chosen from, and says nothing of test."""
    return run.arm.startswith("candidate: ")


def make_runner(folder_setting: Path | None) -> Callable[..., VariantsRunner]:
    """What reads the images and gives a runner, once the settings are known."""

    def make(settings: VariantsSettings, **shared: Any) -> VariantsRunner:
        data = load(settings.data, folder_setting)
        if settings.train_cases and settings.train_cases < len(data.train):
            data = fewer(data, settings.train_cases)
        return VariantsRunner(settings=settings, data=data, **shared)

    return make
