"""How the runs of the specialists experiment are made: trained, or combined by equation 5."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.data.sources import fewer, load
from repro.data.types import ImageData, ImageSet
from repro.engine import store
from repro.engine.jobs import Job
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.kd.losses import arithmetic_mean, distillation_loss
from repro.models.conv import ConvNet
from repro.models.flops import count_conv_multiply_adds
from repro.specialists import clustering, evaluate, inference, specialist
from repro.specialists.runs import Combined, Ensemble, Net, Run, Specialist, Whole
from repro.specialists.settings import SpecialistsSettings
from repro.training.images import ImageTrainer, ImageTransferSet, Objective
from repro.training.random_streams import BatchSampler
from repro.training.trainer import TrainerContext

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
RECORD_VERSION = 1
# The modules that decide what a run's weights become.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/conv.py", "specialists/inference.py", "specialists/specialist.py", "training/images.py",
    "training/random_streams.py", "training/recipe.py", "training/trainer.py",
)  # fmt: skip
# A net, the order of its cases, their labels, its objective, its teacher's logits.
Start = tuple[ConvNet, list[BatchSampler], Tensor, Objective, Tensor | None]
# What a probability of zero counts as where its logarithm is needed.
TINY = 1e-12


@dataclass(kw_only=True)
class SpecialistsRunner(Runner):
    """Runs on many classes of images; each is a job of its own."""

    settings: SpecialistsSettings
    data: ImageData
    _subsets: dict[tuple, list[tuple[int, ...]]] = field(default_factory=dict)
    _counted: set[str] = field(default_factory=set)
    # The net last asked about whole parts of the data, and what it said: many ask the same in a row.
    _asked: Whole | None = None
    _said: dict[str, Tensor] = field(default_factory=dict)

    @property
    def data_digest(self) -> str:
        """The digest of the data that the runs are made on."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """The code, and how many training images there are."""
        return [RECORD_VERSION, len(self.data.train), store.code_version(CODE_DEPENDENCIES)]

    def jobs(self, runs: list[Run]) -> list[Job]:
        """A job for each run."""
        return [Job(run.arm, self.make, (run,), self.flops(run), memory_bytes=2 << 30) for run in runs]

    def execute(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """As every runner does; what is finished already is no work ahead."""
        new = [run for run in runs if self.key(run) not in self._counted]
        self._counted |= {self.key(run) for run in new}
        self.progress.expect(-sum(self.flops(run) for run in new if self.is_finished(run)))
        return super().execute(runs)

    def subsets(self, generalist: Net, method: str, count: int, size: int) -> list[tuple[int, ...]]:
        """Class subsets from the generalist's predictions on training images, labels unseen (section 5.3)."""
        wanted = (generalist, method, count, size)
        if wanted not in self._subsets:
            probabilities = self.on_part(generalist, "train").exp()
            found = clustering.assign(method, probabilities, count, size, generalist.seed)
            self._subsets[wanted] = [tuple(subset) for subset in found.tolist()]
        return self._subsets[wanted]

    def flops(self, run: Run) -> float:
        """The arithmetic of training; next to nothing where nothing is trained."""
        if not isinstance(run, Net | Specialist):
            return 1.0
        shape = self.data.train.images.shape
        each = 6 * count_conv_multiply_adds(shape[1], run.width, len(self.data.classes), shape[-1])
        return each * run.recipe.batch_size * run.recipe.steps(self.cases_in_pass(run))

    def cases_in_pass(self, run: Net | Specialist) -> int:
        """All training images; for a specialist, its special ones and the others that go with them."""
        if isinstance(run, Net):
            return len(self.data.train)
        special = int(torch.isin(self.data.train.labels, torch.tensor(run.subset)).sum())
        return round(special / run.special_share)

    def make(self, run: Run) -> None:
        """Train or combine, measure, and keep the record."""
        tensors: dict[str, Tensor] = {}
        curve: list[Any] = []
        earlier, start = 0.0, time.monotonic()
        if isinstance(run, Net | Specialist):
            self.progress.now(f"{run.arm}, seed {run.seed}")
            training = self.training(run)
            earlier = training.seconds
            self.train(run, training)
            curve, net = training.history, training.net
            tensors = {name: value[None] for name, value in net.state_dict().items()}
        if isinstance(run, Specialist):
            found = evaluate.specialist(run, net.logits, lambda part: self.on_part(run.generalist, part), self.data)
        elif isinstance(run, Net):
            found = evaluate.net(net.logits, self.data)
        elif isinstance(run, Combined):
            found = evaluate.combined(run, lambda cases: self.combine(run, cases), self.data)
        else:
            found = evaluate.ensemble(run, lambda cases: self.log_probabilities(run, cases), self.data)
        seconds = earlier + time.monotonic() - start
        self.store.add(self.key(run), [self.record(run, found, curve, seconds)], tensors)

    def train(self, run: Net | Specialist, training: ImageTrainer[ConvNet]) -> None:
        """Train to the end; the history becomes the curve of (epoch, training loss)."""
        flops = self.flops(run) / training.steps
        self.progress.expect(-flops * training.step)  # done in an earlier sitting
        num_evals = self.settings.num_evals if isinstance(run, Net) else 1
        for snapshot in training.run(num_evals, lambda: self.progress.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise UserError(
                    f"{run.arm}, seed {run.seed}: training diverged (the loss is not finite); lower its learning_rate"
                )
            training.history.append([round(snapshot.epoch, 3), float(f"{float(snapshot.loss):.4g}")])

    def training(self, run: Net | Specialist) -> ImageTrainer[ConvNet]:
        """A net at its start or at its checkpoint, on the training split."""
        net, orders, labels, objective, teacher = (
            self._over_all_classes(run) if isinstance(run, Net) else self._from_generalist(run)
        )
        return ImageTrainer(
            net=net,
            samplers=orders,
            transfer=ImageTransferSet(self.data.train.images, labels, teacher, self.data.horizontal_flip),
            objective=objective,
            num_examples=self.cases_in_pass(run),
            context=TrainerContext(
                recipe=run.recipe, compute=self.compute, checkpoint=self.store.checkpoint(self.key(run))
            ),
        )

    def _over_all_classes(self, run: Net) -> Start:
        """A net over all classes: on hard targets, or on its teacher's soft ones."""
        train, classes = self.data.train, len(self.data.classes)
        net = self.net_of(run.start) if run.start else ConvNet(train.images.shape[1], run.width, classes, run.draw)
        orders = [BatchSampler(run.draw, torch.arange(len(train)), run.recipe.batch_size)]
        if run.teacher is None:
            return net, orders, train.labels, specialist.hard_objective, None
        learned = (run.temperature, run.hard_label_weight)
        temperature, hard_label_weight = (torch.tensor([value], device=self.compute.device) for value in learned)

        def distilled(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
            return distillation_loss(logits, teacher, labels, temperature, hard_label_weight)

        return net, orders, train.labels, distilled, self.on_part(run.teacher, "train")

    def _from_generalist(self, run: Specialist) -> Start:
        """A specialist: half of a batch (by default) from its own classes, half from the others."""
        labels, classes, subset = self.data.train.labels, len(self.data.classes), torch.tensor(run.subset)
        orders = specialist.half_special(
            labels, subset, run.generalist.draw, run.recipe.batch_size, run.special_in_batch
        )
        for order, where in zip(orders, ("of", "outside"), strict=True):
            if not len(order.examples):
                raise UserError(
                    f"specialists.size: there are no training images {where} the classes of specialist {run.number}"
                )
        net = specialist.from_generalist(self.net_of(run.generalist), subset, run.kind)
        if run.kind == "dustbin":
            return net, orders, specialist.dustbin_labels(labels, subset, classes), specialist.hard_objective, None
        if run.kind == "full softmax, hard targets":
            return net, orders, labels, specialist.hard_objective, None
        special = ~specialist.outside(subset, classes).to(self.compute.device)

        def regularised(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
            return specialist.soft_regularised_loss(
                logits, teacher, labels, special, run.temperature, run.hard_label_weight
            )

        return net, orders, labels, regularised, self.on_part(run.generalist, "train")

    def net_of(self, run: Net | Specialist) -> ConvNet:
        """A finished net."""
        classes = self._outputs(run) if isinstance(run, Specialist) else len(self.data.classes)
        net = ConvNet(self.data.train.images.shape[1], run.width, classes, run.seed)
        net.load_state_dict({name: value[0] for name, value in self.load_tensors(run).items()})
        return net.to(self.compute.device)

    def on_part(self, run: Whole, part: str) -> Tensor:
        """What a run says of the images of a part of the data, as they are."""
        if self._asked != run:
            self._asked, self._said = run, {}
        if part not in self._said:
            self._said[part] = self.log_probabilities(run, getattr(self.data, part))
        return self._said[part]

    def log_probabilities(self, run: Whole, cases: ImageSet) -> Tensor:
        """What a run says of images: log-probabilities of shape (case, classes), which serve as logits."""
        if isinstance(run, Net):
            return self.net_of(run).logits(cases.images)[0].log_softmax(-1)
        if isinstance(run, Ensemble):
            each = torch.stack([self.net_of(net).logits(cases.images)[0] for net in run.nets])
            return arithmetic_mean(each)
        return self.combine(run, cases)[1].clamp_min(TINY).log()

    def combine(self, run: Combined, cases: ImageSet) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 5 on images: the generalist's probabilities, the result, and how many specialists were active."""
        generalist = self.log_probabilities(run.generalist, cases).exp()
        subsets = torch.tensor([one.subset for one in run.specialists])
        where, which = inference.active_pairs(generalist, subsets, run.active)
        said = torch.empty(len(where), self._outputs(run.specialists[0]))
        for number, one in enumerate(run.specialists):
            request_metadata = which == number
            if bool(request_metadata.any()):
                said[request_metadata] = self.corrected_probabilities(one, cases.images[where[request_metadata]])
        active = torch.bincount(where, minlength=len(cases))
        if run.specialists[0].kind == "dustbin":
            return generalist, inference.combine_em(generalist, said, (where, which), subsets), active
        return generalist, inference.combine_full(generalist, said, (where, which)), active

    def _outputs(self, run: Specialist) -> int:
        return len(run.subset) + 1 if run.kind == "dustbin" else len(self.data.classes)

    def corrected_probabilities(self, run: Specialist, images: Tensor) -> Tensor:
        """A specialist's probabilities for images, the oversampling of its classes undone."""
        subset = torch.tensor(run.subset)
        truth = float(torch.isin(self.data.train.labels, subset).double().mean())
        logits = self.net_of(run).logits(images)[0]
        return specialist.corrected(logits, subset, run.kind, run.special_in_batch / run.recipe.batch_size, truth)


def make_runner(folder_setting: Path | None) -> Callable[..., SpecialistsRunner]:
    """What reads the images and gives a runner, once the settings are known."""

    def make(settings: SpecialistsSettings, **shared: Any) -> SpecialistsRunner:
        data = load(settings.data, folder_setting)
        check(settings, len(data.classes))
        if settings.train_cases and settings.train_cases < len(data.train):
            data = fewer(data, settings.train_cases)
        return SpecialistsRunner(settings=settings, data=data, **shared)

    return make


def check(settings: SpecialistsSettings, classes: int) -> None:
    """Refuse subsets that these classes do not bear, before anything is trained.

    Raises:
        UserError: fewer than three classes, a subset of all classes, or more specialists than classes.
    """
    if classes < 3:
        raise UserError(f"data: specialists need three classes or more, not {classes}")
    clustering.check(classes, settings.specialists.count, settings.specialists.size)
    for size in settings.studies.sizes:
        if not 2 <= size < classes:
            raise UserError(f"setting studies.sizes: should be 2 to {classes - 1} with {classes} classes, not {size}")
