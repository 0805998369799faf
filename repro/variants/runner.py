"""Execution of the runs of the variants: training, averaging and timing."""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.data.sources import load_reported
from repro.data.types import ImageData, ImageSet
from repro.engine import files, store
from repro.engine.jobs import Job
from repro.engine.local_pool import PROCESS_BYTES
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Diverged, Runner, round_loss
from repro.evaluation import metrics
from repro.kd.losses import arithmetic_mean
from repro.models.conv import ConvNet
from repro.training import compute
from repro.training.trainer import TrainerContext
from repro.variants import feature_cache, methods, models
from repro.variants.cost import TIMINGS, expected_macs, spread_steps, step_bytes
from repro.variants.feature_cache import FeatureCache
from repro.variants.runs import Arm, EnsembleRun, NetRun, Run, TimingRun, label, teacher_run
from repro.variants.settings import VariantsSettings
from repro.variants.training import Distillation, DistillationTrainer

# Raised by hand when the metrics of the same weights change, so that stored records of before are not used.
RECORD_VERSION = 1

# The same for timings.
TIMING_VERSION = 1

# Modules that determine the weights of a run, along with the file of its method.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/conv.py", "models/fused_norm.py", "models/pixel_blocks.py", "training/images.py",
    "training/kernels.py", "training/optimizers.py", "training/random_streams.py", "training/recipe.py",
    "training/trainer.py", "variants/features.py", "variants/methods/base.py", "variants/models.py",
    "variants/training.py",
)  # fmt: skip

# The same for models of these kinds alone.
BY_KIND = {
    "resnet": ("models/cifar_resnets.py", "variants/wrapped.py"),
    "torchvision": ("models/torchvision_nets.py", "variants/wrapped.py"),
}

# Points of a training curve.
NUM_EVALS = 10


@dataclass(kw_only=True)
class VariantsRunner(Runner):
    """Runs on one testbed; each is a job by itself."""

    settings: VariantsSettings
    data: ImageData
    _on_test: dict[str, Tensor] = field(default_factory=dict)

    @property
    def data_digest(self) -> str:
        """Digest of the data set."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """Return the code version, the number of training images, and what the metrics depend on.

        That is the number of timed steps for a timing, else the teacher whose predictions are compared.
        """
        code = CODE_DEPENDENCIES
        if isinstance(run, NetRun):
            code += (f"variants/methods/{run.method}.py", *BY_KIND.get(run.shape.kind, ()))
        teacher = teacher_run(self.settings)
        measured_by: Any = self.key(teacher) if run != teacher else None
        if isinstance(run, TimingRun):
            measured_by = [TIMING_VERSION, self.settings.timing_steps]
        return [RECORD_VERSION, len(self.data.train), measured_by, store.code_version(code)]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """Return the settings of a run, with all options of its method and with shapes in short form."""
        settings = super().settings_of(run)
        if isinstance(run, NetRun):
            settings["options"] = run.method_options.model_dump(mode="json")
            settings["shape"] = str(run.shape)
            if run.teacher is not None:
                settings |= {"teacher_shape": str(run.teacher.shape), "teacher_epochs": run.teacher.recipe.epochs}
        return settings

    def request_metadata(self, run: Run) -> dict[str, Any]:
        """Return the metadata of a request, with the name of the method that the others are compared with."""
        return super().request_metadata(run) | {"baseline": self.settings.baseline.name}

    def dependencies(self, run: Run) -> set[Run]:
        """Return the runs that a run is made from, and the testbed's teacher, for the teacher agreement.

        Timed networks are made for their timing, so that only their teachers must be stored.
        """
        if isinstance(run, TimingRun):
            return set().union(*(self.dependencies(net) for net in (*run.nets, run.kd)))
        return super().dependencies(run) | {teacher_run(self.settings)} - {run}

    def jobs(self, runs: list[Run]) -> list[Job]:
        """Return a job for each run."""
        each = {"cpus": 1, "memory_bytes": PROCESS_BYTES}
        return [
            Job(name_of(run), self.make, (run,), self.flops(run), driver_only=isinstance(run, TimingRun), **each)
            for run in runs
        ]

    def flops(self, run: Run) -> float:
        """Return the operations of training: forward, backward (twice as many), the teacher's unless it is cached."""
        if not isinstance(run, NetRun):
            return 1.0
        each = 6.0 * expected_macs(run.shape, self.data) * run.recipe.batch_size
        reads_features = methods.find(run.method).teacher_modules(run.method_options)
        if run.teacher is not None and (reads_features or not self.has_cache(run)):
            each += self.teacher_flops(run.teacher, run)
        return each * run.recipe.steps(len(self.data.train))

    def teacher_flops(self, teacher: NetRun, run: NetRun) -> float:
        """Return the operations of a teacher's forward pass on a batch of a student's training."""
        return 2.0 * expected_macs(teacher.shape, self.data) * run.recipe.batch_size

    def make(self, run: Run) -> None:
        """Train, average or time; evaluate; store the record."""
        # A step is timed on one thread because models are trained on one.
        with compute.threads(1) if isinstance(run, TimingRun) else contextlib.nullcontext():
            self._make(run)

    def _make(self, run: Run) -> None:
        start, earlier, curve, tensors = time.monotonic(), 0.0, [], {}
        self.progress.now(name_of(run))
        if isinstance(run, NetRun):
            training = self.training(run, self.store.checkpoint(self.key(run)))
            earlier = training.seconds
            try:
                self.train(run, training)
                evaluated = self.evaluate(run, lambda part: training.net.logits(part.images)[0])
                result = self.require_finite(run, evaluated)
            except Diverged:
                if not is_search(run):
                    raise
                result = {"diverged": True}  # the search goes on with the other entries
            curve = training.history
            tensors = {name: value[None] for name, value in training.net.student.state_dict().items()}
        elif isinstance(run, EnsembleRun):
            result = self.evaluate(run, lambda part: self.mean(run, part))
        else:
            result = self.timed(run)
        seconds = earlier + time.monotonic() - start
        self.store.add(self.key(run), [self.record(run, result, curve, seconds)], tensors)

    def training(self, run: NetRun, checkpoint: Path | None) -> DistillationTrainer:
        """Return the training of a student, at its start or at its checkpoint."""
        student = models.make(run.shape, self.data, run.seed)
        teacher = self.net_of(run.teacher) if run.teacher is not None else None
        return DistillationTrainer(
            student=student,
            distillation=Distillation(methods.find(run.method), run.method_options, teacher, run.view),
            data=self.data,
            seed=run.seed,
            context=TrainerContext(recipe=run.recipe, compute=self.compute, checkpoint=checkpoint),
            order=run.order,
            # Without a checkpoint steps are timed, and a step includes the teacher's.
            cache=self.feature_cache(run, teacher) if checkpoint is not None else None,
        )

    def has_cache(self, run: NetRun) -> bool:
        """Return whether a student shares a cache of the teacher's features with the others of its seed.

        There is none where few students would share it, as with other teachers, views and numbers of epochs than the
        testbed's, and on a GPU, which computes features faster than they are read.
        """
        alike = run.teacher == teacher_run(self.settings) and run.view == "same"
        alike &= run.recipe == self.settings.student.recipe and self.settings.teacher.shape.width is not None
        return alike and self.keeps_caches and self.compute.device.type == "cpu"

    def feature_cache(self, run: NetRun, teacher: models.Network | None) -> FeatureCache | None:
        """Return the cache of a teacher's features that a student reads and adds to."""
        if not isinstance(teacher, ConvNet) or not self.has_cache(run):
            return None
        order = run.seed if run.order is None else run.order
        sizes = run.recipe.steps(len(self.data.train)), run.recipe.batch_size, 4 * teacher.width
        depends_on = [order, run.recipe.max_translation, files.digest_of(teacher.state_dict())]
        group, most_bytes = self.key(teacher_run(self.settings)), 1e9 * self.settings.feature_cache_gb
        on_computed = partial(self.count, self.teacher_flops(teacher_run(self.settings), run))
        return FeatureCache(self.store.folder, group, depends_on, sizes, most_bytes, on_computed)

    def count(self, flops: float) -> None:
        """Add unplanned work to the progress and mark it done."""
        self.progress.expect(flops)
        self.progress.advance(flops)

    def remove_caches(self) -> None:
        """Remove the caches of the teacher's features."""
        feature_cache.remove(self.store.folder, self.key(teacher_run(self.settings)))

    def train(self, run: NetRun, training: DistillationTrainer) -> None:
        """Train to the end; the history becomes the curve of (epoch, training loss).

        Raises:
            Diverged: the loss is not finite.
        """
        flops = self.flops(run) / training.steps
        name, advice = (
            f"{label(run.arm, dict(run.params))}, {run.options}",
            "lower its learning_rate or the method's weight",
        )
        for snapshot in self.train_loop(training, NUM_EVALS, flops, name=name, advice=advice):
            training.history.append([snapshot.epoch, round_loss(snapshot.loss)])
            self.log([run], snapshot, {})

    def net_of(self, run: NetRun) -> models.Network:
        """Return the trained model of a run."""
        net = models.make(run.shape, self.data, run.seed)
        net.load_state_dict({name: value[0] for name, value in self.load_tensors(run).items()})
        return net.to(self.compute.device)

    def mean(self, run: EnsembleRun, part: ImageSet) -> Tensor:
        """Return the logits of the mean of the models' probabilities."""
        return arithmetic_mean(torch.stack([self.net_of(net).logits(part.images)[0] for net in run.nets]))

    def evaluate(self, run: NetRun | EnsembleRun, logits: Callable[[ImageSet], Tensor]) -> dict[str, Any]:
        """Return errors, likelihood and calibration, and the teacher agreement on test images.

        ``test_agreement_testbed_teacher`` is the fraction of test images that the model and the testbed's teacher
        assign to the same class; ``test_agreement_direct_teacher`` is that with the teacher of the run. A run of a
        search is evaluated on validation images alone.
        """
        outputs = logits(self.data.validation)
        result = metrics.of_part("validation", outputs, self.data.validation.labels)
        if is_search(run):
            return result
        outputs = logits(self.data.test)
        result |= metrics.of_part("test", outputs, self.data.test.labels)
        if isinstance(run, NetRun):
            result["parameters"] = models.num_parameters(run.shape, self.data)
        direct = run.teacher if isinstance(run, NetRun) else None
        for name, teacher in (("testbed", teacher_run(self.settings)), ("direct", direct)):
            if teacher is not None and teacher != run:
                result[f"test_agreement_{name}_teacher"] = metrics.agreement(outputs, self.on_test(teacher))
        return result

    def on_test(self, run: NetRun) -> Tensor:
        """Return a trained model's logits of the test images; the last four are cached, as runs share teachers."""
        key = self.key(run)
        if key not in self._on_test:
            logits = self.net_of(run).logits(self.data.test.images)[0]
            self._on_test = dict(list(self._on_test.items())[-3:]) | {key: logits}
        return self._on_test[key]

    def timed(self, run: TimingRun) -> dict[str, Any]:
        """Return time and memory of training steps, relative to KD: steps of each model and of KD are timed in turn."""
        sides = [self.training(net, None) for net in (*run.nets, run.kd)]
        ratios, kd_step_seconds = [], []
        for number in range(TIMINGS + 1):
            seconds = [0.0] * len(sides)
            for place in sorted(range(len(sides)), reverse=bool(number % 2)):  # no side is always the last
                seconds[place] = spread_steps(sides[place], self.settings.timing_steps)
            *timed, of_kd = seconds
            if number:  # the first round includes the allocation of memory and threads
                ratios.append(sum(timed) / of_kd)
                kd_step_seconds.append(of_kd / self.settings.timing_steps)
        *memory, kd_memory = (step_bytes(side) for side in sides)
        return {
            "time_over_kd": statistics.median(ratios), "time_low": min(ratios), "time_high": max(ratios),
            "kd_step_seconds": statistics.median(kd_step_seconds),
            "memory_over_kd": max(memory) / kd_memory, "step_bytes": max(memory),
        }  # fmt: skip


def is_search(run: Run) -> bool:
    """Return whether a run belongs to a search, which must not see the test images."""
    return run.arm == Arm.SEARCH


def name_of(run: Run) -> str:
    """Return the name of a run in progress messages."""
    return f"{label(run.arm, dict(run.params))}, seed {run.seed}"


def make_runner(folder_setting: Path | None) -> Callable[..., VariantsRunner]:
    """Return a function from settings to a runner, which reads the images from ``folder_setting``."""

    def make(settings: VariantsSettings, *, progress: ProgressDisplay, **shared: Any) -> VariantsRunner:
        data = load_reported(settings.data, folder_setting, settings.max_train_examples, progress)
        return VariantsRunner(settings=settings, data=data, progress=progress, **shared)

    return make
