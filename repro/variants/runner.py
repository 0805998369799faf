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

from repro.core import compute, metrics, store
from repro.core.distill import arithmetic_mean
from repro.core.executor import Job
from repro.core.runner import Runner
from repro.core.timing import clock
from repro.core.workers import PROCESS_BYTES
from repro.data.images import ImageData, ImageSet
from repro.data.sources import fewer, load
from repro.errors import UserError
from repro.variants import methods, nets
from repro.variants.runs import Cost, Ensemble, Net, Run, teacher
from repro.variants.settings import VariantsSettings
from repro.variants.training import VariantTraining, assemble

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
MEASUREMENT = 1
# The same, of what a cost is.
COSTING = 1
# The modules that decide what a run's weights become; with the method's own file.
NUMERICS = ("core/conv.py", "core/distill.py", "core/loop.py", "core/noise.py", "core/recipe.py",
            "variants/features.py", "variants/methods/base.py", "variants/nets.py", "variants/training.py")  # fmt: skip
TIMINGS = 5


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

    def made_of(self, run: Run) -> list[Any]:
        """The code, with the method's own; how many training images there are; how long a cost is timed, or whose
        predictions a net's are compared with."""
        code = NUMERICS + ((f"variants/methods/{run.method}.py",) if isinstance(run, Net) else ())
        taught = teacher(self.settings)
        measured_by: Any = self.key(taught) if run != taught else None
        if isinstance(run, Cost):
            measured_by = [COSTING, self.settings.cost_steps]
        return [MEASUREMENT, len(self.data.train), measured_by, store.code_version(code)]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """As of every run; a method's options in full, shapes by their names."""
        found = super().settings_of(run)
        if isinstance(run, Net):
            found["options"] = methods.find(run.method).Options(**json.loads(run.options)).model_dump(mode="json")
            found["shape"] = str(run.shape)
            if run.teacher is not None:
                found |= {"teacher_shape": str(run.teacher.shape), "teacher_epochs": run.teacher.recipe.epochs}
        return found

    def asked(self, run: Run) -> dict[str, Any]:
        """As of every run; and which row the others are compared with."""
        return super().asked(run) | {"baseline": self.settings.baseline.name}

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
                    nets.make(one.shape, self.data, 0) for one in (self.settings.student, self.settings.teacher)
                )
                assemble(
                    student, taught if method.has_teacher else None, method, method.Options(**candidate), self.data, 0
                )

    def jobs(self, runs: list[Run]) -> list[Job]:
        """A job for each run, a teacher's before its students'."""
        each = {"cpus": 1, "memory_bytes": PROCESS_BYTES}
        return [
            Job(f"{run.role}, seed {run.seed}", self.make, (run,), self.flops(run), here=isinstance(run, Cost), **each)
            for run in runs
        ]

    def flops(self, run: Run) -> float:
        """The arithmetic of training: forward and twice as much backward, and the teacher's forward."""
        if not isinstance(run, Net):
            return 1.0
        each = 6.0 * nets.multiply_adds(run.shape, self.data)
        if run.teacher is not None:
            each += 2.0 * nets.multiply_adds(run.teacher.shape, self.data)
        return each * run.recipe.batch * run.recipe.steps(len(self.data.train))

    def make(self, run: Run) -> None:
        """Train, average or time, measure, and keep the record."""
        with compute.threads(1) if isinstance(run, Cost) else contextlib.nullcontext():  # as nets are trained
            self._make(run)

    def _make(self, run: Run) -> None:
        start, earlier, curve, tensors = time.monotonic(), 0.0, [], {}
        self.watch.now(f"{run.role}, seed {run.seed}")
        if isinstance(run, Net):
            training = self.training(run, self.kept.checkpoint(self.key(run)))
            earlier = training.seconds
            try:
                self.train(run, training)
                found = self.measured(run, lambda cases: training.net.logits(cases.images)[0])
            except Diverged:
                if not is_candidate(run):
                    raise
                found = {"diverged": True}  # it is not chosen, and the others go on
            curve = training.history
            tensors = {name: value[None] for name, value in training.net.student.state_dict().items()}
        elif isinstance(run, Ensemble):
            found = self.measured(run, lambda cases: self.mean(run, cases))
        else:
            found = self.timed(run)
        seconds = earlier + time.monotonic() - start
        self.kept.add(self.key(run), [self.record(run, found, curve, seconds)], tensors)

    def training(self, run: Net, checkpoint: Path | None) -> VariantTraining:
        """A student at its start or at its checkpoint."""
        method = methods.find(run.method)
        student = nets.make(run.shape, self.data, run.seed)
        taught = self.net_of(run.teacher) if run.teacher is not None else None
        options = method.Options(**json.loads(run.options))
        return VariantTraining(
            student, method, options, self.data, run.recipe, self.compute, run.seed, taught, run.view, checkpoint,
            run.order,
        )  # fmt: skip

    def train(self, run: Net, training: VariantTraining) -> None:
        """Train to the end; the history becomes the curve of (epoch, training loss)."""
        flops = self.flops(run) / training.steps
        self.watch.expect(-flops * training.step)  # done in an earlier sitting
        for snapshot in training.run(10, lambda: self.watch.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise Diverged(
                    f"{run.role}, {run.options}: training diverged (the loss is not finite); "
                    "lower its learning_rate or the method's weight"
                )
            training.history.append([round(snapshot.epoch, 3), float(f"{float(snapshot.loss):.4g}")])

    def net_of(self, run: Net) -> nets.Net:
        """A finished net."""
        net = nets.make(run.shape, self.data, run.seed)
        net.load_state_dict({name: value[0] for name, value in self.tensors_of(run).items()})
        return net.to(self.compute.device)

    def mean(self, run: Ensemble, cases: ImageSet) -> Tensor:
        """Logits of the mean of the nets' probabilities."""
        return arithmetic_mean(torch.stack([self.net_of(net).logits(cases.images)[0] for net in run.nets]))

    def measured(self, run: Net | Ensemble, logits: Callable[[ImageSet], Tensor]) -> dict[str, Any]:
        """Errors, likelihood and calibration; how often a net names the same class on test as the bench's teacher, and
        as its own. Of a candidate on validation alone."""
        said = logits(self.data.validation)
        found = metrics.of_part("validation", said, self.data.validation.labels)
        if is_candidate(run):
            return found
        said = logits(self.data.test)
        found |= metrics.of_part("test", said, self.data.test.labels)
        if isinstance(run, Net):
            found["weights"] = nets.count(run.shape, self.data)
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


def is_candidate(run: Run) -> bool:
    """Whether a run is there to be chosen from, and says nothing of test."""
    return run.role.startswith("candidate: ")


def spread_steps(training: VariantTraining, count: int) -> float:
    """Seconds of so many steps at equal distances over the whole of a training, whose stages may cost differently; and
    their share of the teacher's pass over all images, where that is made once."""
    device, seconds = training.parameters[0].device, 0.0
    if training.teacher is not None and training.teacher_net is not None:
        some = training.images[:1000, :, 0, 0]
        start = clock(device)
        with torch.no_grad():
            training.teacher_net(some)
        seconds += (clock(device) - start) * len(training.labels) / len(some) * count / training.whole
    for number in range(count):
        training.step = (2 * number + 1) * training.whole // (2 * count)
        training.steps = training.step + 1
        training.picked(training.step)  # drawing a pass's order is a share of a step, but for one that comes from afar
        start = clock(device)
        for _ in training.run():
            pass
        seconds += clock(device) - start
    return seconds


def step_bytes(training: VariantTraining) -> int:
    """Bytes that a step needs, where it needs most: weights of student and the method's own, the optimiser's state,
    what is kept for the backward pass, and the teacher's weights, or its logits where these are worked out once."""
    return max(_bytes_at(training, step) for step in (0, training.whole - 1))


def _bytes_at(training: VariantTraining, step: int) -> int:
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = training.losses(step)
    del loss
    state = [value for one in training.optimiser.state.values() for value in one.values()]
    teacher: list[Tensor] = []
    if training.teacher is not None:
        teacher = [training.teacher]
    elif training.teacher_net is not None:
        teacher = list(training.teacher_net.parameters())
    for tensor in (*training.parameters, *state, *teacher):
        keep(tensor.detach())
    data = {one.untyped_storage().data_ptr() for one in (training.images, training.labels)}
    return sum(size for where, size in held.items() if where not in data)


def make_runner(folder_setting: Path | None) -> Callable[..., VariantsRunner]:
    """What reads the images and gives a runner, once the settings are known."""

    def make(settings: VariantsSettings, **shared: Any) -> VariantsRunner:
        data = load(settings.data, folder_setting)
        if settings.train_cases and settings.train_cases < len(data.train):
            data = fewer(data, settings.train_cases)
        return VariantsRunner(settings=settings, data=data, **shared)

    return make
