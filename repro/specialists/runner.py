"""Execution of the specialists experiment: training, combination by equation 5, and evaluation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.config_search import combinations
from repro.data.sources import load_reported
from repro.data.types import ImageData, ImageSet
from repro.engine import store
from repro.engine.jobs import Job
from repro.engine.local_pool import PROCESS_BYTES
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Diverged, Runner, round_loss
from repro.errors import UserError
from repro.evaluation.metrics import pack_counts
from repro.kd.losses import arithmetic_mean
from repro.models.conv import ConvNet
from repro.models.flops import count_conv_multiply_adds
from repro.specialists import clustering, evaluate, inference, specialist, starts
from repro.specialists.runs import (
    OF_ALL_SEEDS,
    OF_THE_SEARCH,
    AllClassesRun,
    Arm,
    CombinedRun,
    EnsembleRun,
    NetRun,
    Run,
    SameViewRun,
    SpecialistRun,
)
from repro.specialists.same_view import SameViewTrainer, networks_per_image
from repro.specialists.settings import SpecialistsSettings
from repro.training.images import ImageTrainer, ImageTransferSet
from repro.training.random_streams import training_fraction
from repro.training.trainer import TrainerContext

# Increased by hand when the evaluation of the same weights changes; stored records of older versions are not reused.
RECORD_VERSION = 1
# The modules that determine a run's weights.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/conv.py", "models/fused_norm.py", "models/pixel_blocks.py", "specialists/inference.py",
    "specialists/specialist.py", "specialists/starts.py", "training/images.py", "training/kernels.py",
    "training/optimizers.py", "training/random_streams.py", "training/recipe.py", "training/trainer.py",
)  # fmt: skip
# Lower bound of probabilities whose logarithm is taken.
TINY = 1e-12


@dataclass(kw_only=True)
class SpecialistsRunner(Runner):
    """Runner of the specialists experiment: one job for each run."""

    settings: SpecialistsSettings
    data: ImageData
    _subsets: dict[tuple, list[tuple[int, ...]]] = field(default_factory=dict)
    # Predictions of one run on whole splits of the data, as many runs in a row need those of the same generalist.
    _predicted_by: AllClassesRun | None = None
    _predictions: dict[str, Tensor] = field(default_factory=dict)

    @property
    def data_digest(self) -> str:
        """Digest of the image data set."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """Return the record version, the number of training images, and the version of the code."""
        modules = (*CODE_DEPENDENCIES, *(("specialists/same_view.py",) if isinstance(run, SameViewRun) else ()))
        return [RECORD_VERSION, len(self.data.train), store.code_version(modules)]

    def request_metadata(self, run: Run) -> dict[str, Any]:
        """Return the metadata of a request, with the number of its seeds; of the first generalist's, also labels.

        A report draws classes for its intervals, and one record holds the labels of the evaluated images for all. They
        describe the data and not the run, so that runs stored without them need no new training.
        """
        metadata = super().request_metadata(run)
        metadata["seeds"] = self._num_seeds(Arm(run.arm))
        if run.arm == Arm.GENERALIST and run.seed == 0:
            metadata["labels"] = {
                split: pack_counts(getattr(self.data, split).labels) for split in ("validation", "test")
            }
        return metadata

    def _num_seeds(self, arm: Arm) -> int:
        if arm in OF_THE_SEARCH and self.settings.search is not None:
            return self.settings.search.seeds
        return self.settings.seeds if arm in OF_ALL_SEEDS else self.settings.num_ablation_seeds

    def jobs(self, runs: list[Run]) -> list[Job]:
        """Return a job for each run. Several networks are trained side by side, on one core each.

        Two threads make a network of 8 channels no faster than one does.
        """
        nets = sum(isinstance(run, NetRun | SpecialistRun) for run in runs)
        return [
            Job(
                run.arm, self.make, (run,), self.flops(run), memory_bytes=PROCESS_BYTES,
                cpus=1 if nets > 1 and isinstance(run, NetRun | SpecialistRun) else 2,
            )
            for run in runs
        ]  # fmt: skip

    def subsets(self, generalist: NetRun, algorithm: str, count: int, size: int) -> list[tuple[int, ...]]:
        """Return class subsets from the generalist's predictions on training images, without labels (section 5.3)."""
        arguments = (generalist, algorithm, count, size)
        if arguments not in self._subsets:
            probabilities = self.predictions(generalist, "train").exp()
            subsets = clustering.assign(algorithm, probabilities, count, size, generalist.seed)
            self._subsets[arguments] = [tuple(subset) for subset in subsets.tolist()]
        return self._subsets[arguments]

    def flops(self, run: Run) -> float:
        """Return the floating-point operations of training; 1 for a run that trains nothing."""
        if not isinstance(run, NetRun | SpecialistRun):
            return 1.0
        shape = self.data.train.images.shape
        per_image = 6.0 * count_conv_multiply_adds(shape[1], run.width, len(self.data.classes), shape[-1])
        if isinstance(run, SameViewRun):
            per_image *= 1 + networks_per_image(run.teacher, len(self.data.classes)) / 3
        return per_image * run.recipe.batch_size * run.recipe.steps(self.epoch_size(run))

    def epoch_size(self, run: NetRun | SpecialistRun) -> int:
        """Return the images in an epoch: all; for a specialist, the special ones and the others in proportion."""
        if isinstance(run, NetRun):
            return len(self.data.train)
        special = int(torch.isin(self.data.train.labels[self.examples(run)], torch.tensor(run.subset)).sum())
        return round(special / run.special_fraction)

    def examples(self, run: SpecialistRun) -> Tensor:
        """Return the indices of the training images that a specialist sees, in ascending order."""
        return training_fraction(len(self.data.train), run.fraction, run.seed)

    def make(self, run: Run) -> None:
        """Train or combine, evaluate, and store the record."""
        tensors: dict[str, Tensor] = {}
        curve: list[Any] = []
        earlier, start = 0.0, time.monotonic()
        if isinstance(run, NetRun | SpecialistRun):
            self.progress.now(f"{run.arm}, seed {run.seed}")
            training = self.training(run)
            earlier = training.seconds
            try:
                self.train(run, training)
                metrics = self.require_finite(run, self._evaluate(run, training.net))
            except Diverged:
                if run.arm not in OF_THE_SEARCH:
                    raise
                self.store.add(self.key(run), [self.record(run, {"diverged": True}, [], training.seconds)], {})
                return
            curve = training.history
            tensors = {name: value[None] for name, value in training.net.state_dict().items()}
        elif isinstance(run, CombinedRun):
            metrics = evaluate.combined(run, lambda cases: self.combine(run, cases), self.data)
        else:
            metrics = evaluate.ensemble(run, lambda cases: self.log_probabilities(run, cases), self.data)
        seconds = earlier + time.monotonic() - start
        self.store.add(self.key(run), [self.record(run, metrics, curve, seconds)], tensors)

    def _evaluate(self, run: NetRun | SpecialistRun, net: ConvNet) -> dict[str, Any]:
        """Return the metrics of a trained network."""
        if isinstance(run, SpecialistRun):
            return evaluate.specialist(run, net.logits, partial(self._generalist_on, run), self.images_of(run))
        return evaluate.net(net.logits, self.data)

    def images_of(self, run: SpecialistRun) -> ImageData:
        """Return the data with the training images that a specialist sees."""
        if run.fraction == 1:
            return self.data
        rows, train = self.examples(run), self.data.train
        return replace(self.data, train=ImageSet(train.images[rows], train.labels[rows]))

    def _generalist_on(self, run: SpecialistRun, split: str) -> Tensor:
        """Return the generalist's log-probabilities on a split, of the training images those that ``run`` sees."""
        predictions = self.predictions(run.generalist, split)
        return predictions[self.examples(run)] if split == "train" and run.fraction < 1 else predictions

    def train(self, run: NetRun | SpecialistRun, training: ImageTrainer[ConvNet]) -> None:
        """Train to the end; the history becomes the curve of (epoch, training loss).

        That of a specialist also has its accuracy within the special classes, on training and validation images.
        """
        flops, name = self.flops(run) / training.steps, f"{run.arm}, seed {run.seed}"
        num_evals = self.settings.num_evals if isinstance(run, NetRun) else run.num_evals
        data = self.images_of(run) if isinstance(run, SpecialistRun) else self.data
        for snapshot in self.train_loop(training, num_evals, flops, name=name, advice="lower its learning_rate"):
            point = [snapshot.epoch, round_loss(snapshot.loss)]
            within: list[float] = []
            if isinstance(run, SpecialistRun):
                within = evaluate.accuracy_within(run, snapshot.net.logits, (data.train, data.validation))
            training.history.append([*point, *within])
            parts = zip(("training", "validation"), within, strict=False)
            self.log([run], snapshot, {f"{part}_accuracy_within_special_classes": [v] for part, v in parts})

    def training(self, run: NetRun | SpecialistRun) -> ImageTrainer[ConvNet]:
        """Return the trainer of a run, at its start or at its checkpoint."""
        start = starts.over_all_classes(self, run) if isinstance(run, NetRun) else starts.from_generalist(self, run)
        trainer: Callable[..., ImageTrainer[ConvNet]] = ImageTrainer
        if isinstance(run, SameViewRun) and run.teacher is not None:
            trainer = partial(SameViewTrainer, predict=partial(self.predict, run.teacher))
        return trainer(
            net=start.net,
            samplers=start.samplers,
            transfer=ImageTransferSet(self.data.train.images, start.labels, start.teacher, self.data.horizontal_flip),
            objective=start.objective,
            num_examples=self.epoch_size(run),
            context=TrainerContext(
                recipe=run.recipe, compute=self.compute, checkpoint=self.store.checkpoint(self.key(run))
            ),
        )

    def net_of(self, run: NetRun | SpecialistRun) -> ConvNet:
        """Return the network of a finished run."""
        classes = self.num_outputs(run) if isinstance(run, SpecialistRun) else len(self.data.classes)
        net = ConvNet(self.data.train.images.shape[1], run.width, classes, run.seed)
        net.load_state_dict({name: value[0] for name, value in self.load_tensors(run).items()})
        return net.to(self.compute.device)

    def predictions(self, run: AllClassesRun, split: str) -> Tensor:
        """Return log-probabilities, of shape (case, classes), on a split of the data without augmentation."""
        if self._predicted_by != run:
            self._predicted_by, self._predictions = run, {}
        if split not in self._predictions:
            self._predictions[split] = self.log_probabilities(run, getattr(self.data, split))
        return self._predictions[split]

    def log_probabilities(self, run: AllClassesRun, cases: ImageSet) -> Tensor:
        """Return log-probabilities of shape (case, classes), which serve as logits."""
        if isinstance(run, NetRun):
            return self.net_of(run).logits(cases.images)[0].log_softmax(-1)
        if isinstance(run, EnsembleRun):
            return arithmetic_mean(torch.stack([self.net_of(net).logits(cases.images)[0] for net in run.nets]))
        return self.combine(run, cases)[1].clamp_min(TINY).log()

    def predict(self, run: AllClassesRun, images: Tensor) -> Tensor:
        """Return log-probabilities of shape (image, classes) on images without labels."""
        return self.log_probabilities(run, ImageSet(images.cpu(), torch.zeros(len(images), dtype=torch.long)))

    def combine(self, run: CombinedRun, cases: ImageSet) -> tuple[Tensor, Tensor, Tensor]:
        """Solve equation 5 on images.

        Returns:
            The generalist's probabilities (case, classes), the combined ones, and the number of active specialists.
        """
        generalist = self.log_probabilities(run.generalist, cases).exp()
        subsets = torch.tensor([member.subset for member in run.specialists])
        pairs = image, model = inference.active_pairs(generalist, subsets, run.top_n)
        outputs = torch.empty(len(image), self.num_outputs(run.specialists[0]))
        for number, member in enumerate(run.specialists):
            rows = model == number
            if bool(rows.any()):
                outputs[rows] = self.corrected_probabilities(member, cases.images[image[rows]])
        active = torch.bincount(image, minlength=len(cases))
        if run.specialists[0].kind == "dustbin":
            return generalist, inference.combine_em(generalist, outputs, pairs, subsets), active
        return generalist, inference.combine_full(generalist, outputs, pairs), active

    def num_outputs(self, run: SpecialistRun) -> int:
        """Return the number of a specialist's logits."""
        return len(run.subset) + 1 if run.kind == "dustbin" else len(self.data.classes)

    def corrected_probabilities(self, run: SpecialistRun, images: Tensor) -> Tensor:
        """Return a specialist's probabilities, corrected for the oversampling of its classes (section 5.2)."""
        subset = torch.tensor(run.subset)
        natural_fraction = float(torch.isin(self.data.train.labels, subset).double().mean())
        logits = self.net_of(run).logits(images)[0]
        sampled_fraction = run.special_in_batch / run.recipe.batch_size
        return specialist.corrected_probabilities(logits, subset, run.kind, sampled_fraction, natural_fraction)


def make_runner(folder_setting: Path | None) -> Callable[..., SpecialistsRunner]:
    """Return a function that reads the images of given settings and returns a runner."""

    def make(settings: SpecialistsSettings, *, progress: ProgressDisplay, **shared: Any) -> SpecialistsRunner:
        data = load_reported(settings.data, folder_setting, settings.max_train_examples, progress)
        check(settings, len(data.classes))
        return SpecialistsRunner(settings=settings, data=data, progress=progress, **shared)

    return make


def check(settings: SpecialistsSettings, classes: int) -> None:
    """Check that the data set has enough classes for the settings, those of the search too, before training.

    Raises:
        UserError: there are fewer than three classes, a subset of all classes, or more specialists than classes.
    """
    if classes < 3:
        raise UserError(f"data: specialists need three classes or more, not {classes}")
    clustering.check(classes, settings.specialists.count, settings.specialists.classes_per_specialist)
    for stage in settings.search.stages if settings.search else ():
        for values in combinations(stage):
            check(settings.changed(values), classes)
    for size in settings.ablations.subset_sizes:
        if not 2 <= size < classes:
            raise UserError(
                f"setting ablations.subset_sizes: must be 2 to {classes - 1} with {classes} classes, not {size}"
            )
