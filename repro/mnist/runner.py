"""Training and evaluation of the runs of section 3."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.data.download import data_folder
from repro.data.mnist import Mnist, load
from repro.data.types import ImageSet
from repro.engine import files, store
from repro.engine.jobs import Job
from repro.engine.local_pool import PROCESS_BYTES
from repro.engine.runner import Runner, round_loss
from repro.evaluation import metrics
from repro.mnist.evaluate import errors, mean_errors, shift_metrics
from repro.mnist.runs import ALL_CLASSES, PIXELS_TRANSLATED, Run
from repro.mnist.settings import Common
from repro.models.flops import count_parameters, step_flops
from repro.models.mlp import BatchedMLP
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet, translations
from repro.training.random_streams import training_fraction
from repro.training.trainer import TrainerContext

# The modules that determine a run's weights.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/mlp.py", "training/cuda_graphs.py", "training/fused_update.py", "training/kernels.py",
    "training/mlp.py", "training/optimizers.py", "training/random_streams.py", "training/recipe.py",
    "training/trainer.py",
)  # fmt: skip

# Offsets of translated test images: by two pixels in each of eight directions.
TEST_TRANSLATIONS = [pair for pair in itertools.product(range(0, 5, 2), repeat=2) if pair != (2, 2)]
# Increased by hand when the evaluation of the same weights changes; stored records of older versions are not reused.
RECORD_VERSION = 1


@dataclass(kw_only=True)
class MnistRunner(Runner):
    """Runner of section 3; runs that see the same batches are trained together."""

    settings: Common
    data: Mnist

    @property
    def data_digest(self) -> str:
        """Digest of the data."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """The code and the number of training images."""
        return [RECORD_VERSION, self.settings.max_train_examples, store.code_version(CODE_DEPENDENCIES)]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """The settings of a run; an infinite temperature, which JSON lacks, is the string ``inf``."""
        return super().settings_of(run) | {"temperature": "inf" if math.isinf(run.temperature) else run.temperature}

    def jobs(self, runs: list[Run]) -> list[Job]:
        """One job for all runs that can be trained together, up to ``max_batched_params``.

        Jobs of several seeds take one core each: two networks side by side are up to 1.4 times as fast as one after
        the other on two threads. A single seed takes all cores.
        """
        cores = 1 if self.settings.seeds > 1 else 2
        alike: dict[tuple, list[Run]] = defaultdict(list)
        for run in runs:
            alike[run.batch_key(self.settings.batch_seeds)].append(run)
        jobs = []
        for group in alike.values():
            size = max(1, self.settings.max_batched_params // count_parameters(group[0].sizes))
            for start in range(0, len(group), size):
                part = group[start : start + size]
                steps = part[0].recipe.steps(len(self.examples(part[0])))
                flops = steps * step_flops(part[0].sizes, part[0].recipe.batch_size) * len(part)
                jobs.append(Job(part[0].arm, self.train_group, (part,), flops, cores, memory_bytes=PROCESS_BYTES))
        return jobs

    def examples(self, run: Run) -> Int[Tensor, "example"]:
        """Indices of the training images that a run is trained on."""
        examples = training_fraction(len(self.data.split(run.split)), run.fraction, run.seed)
        if run.transfer_classes != ALL_CLASSES:
            examples = examples[torch.isin(self.data.train.labels[examples], torch.tensor(run.transfer_classes))]
        return examples

    def weights_of(self, run: Run) -> BatchedMLP:
        """A trained network; it is trained again if its stored weights are corrupt."""
        model = BatchedMLP(run.sizes, [run.seed])
        model.load_state_dict(self.load_tensors(run))
        return model

    def soft_targets_path(self, key: str) -> Path:
        """File of a teacher's logits."""
        return self.store.folder / f"{key}.logits"

    def teacher_logits(self, run: Run) -> dict[str, Tensor]:
        """A teacher's logits on the training and the test images, computed once and stored."""

        def compute(model: BatchedMLP) -> dict[str, Tensor]:
            logits = {"train": model.logits(self.data.train.images)[0], "test": model.logits(self.data.test.images)[0]}
            if run.translated_test:
                logits["translated"] = translated_logits(model, self.data.test.images, TEST_TRANSLATIONS)[0]
            return logits

        return self._stored_logits(run, self.soft_targets_path(self.key(run)), compute)

    def mean_logits(self, teachers: tuple[Run, ...]) -> dict[str, Tensor]:
        """The mean of the logits of several teachers, which is the geometric mean of their predictions (section 2)."""
        first, *others = map(self.teacher_logits, teachers)
        return {part: torch.stack([logits, *(of[part] for of in others)]).mean(0) for part, logits in first.items()}

    def soft_targets(self, run: Run, targets: str) -> Tensor:
        """A teacher's logits on the translated training images or their mean, as ``Run.targets`` says."""
        side = 2 * PIXELS_TRANSLATED + 1
        offsets = list(itertools.product(range(side), repeat=2))

        def compute(model: BatchedMLP) -> dict[str, Tensor]:
            self.progress.now(f"soft targets on translated images, seed {run.seed}")
            logits = translated_logits(model, self.data.train.images, offsets)[0]
            return {"train": logits.movedim(0, 1).unflatten(1, (side, side)).contiguous()}

        path = self.soft_targets_path(f"{self.key(run)}.translated")
        logits = self._stored_logits(run, path, compute)["train"]
        return logits if targets == "translations" else logits.mean((1, 2))

    def _stored_logits(
        self, run: Run, path: Path, compute: Callable[[BatchedMLP], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        try:
            return files.load_tensors(path)[0]
        except files.CorruptFile as error:
            if path.exists():
                files.quarantine(path, f"{error}; it is computed again")
        logits = compute(self.weights_of(run).to(self.compute.device))
        files.save_tensors(path, logits, {})
        return logits

    def train_group(self, runs: list[Run]) -> None:
        """Train runs as one batch of networks and store their records and weights."""
        first, keys = runs[0], [self.key(run) for run in runs]
        seeds = sorted({run.seed for run in runs})
        seed_text = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
        self.progress.now(f"{first.arm}: {len(runs)} x {'-'.join(map(str, first.hidden))}, {seed_text}")
        examples_of_seed = {run.seed: self.examples(run) for run in runs}
        examples = [examples_of_seed[run.seed] for run in runs]
        keys_of = {run: tuple(map(self.key, run.teachers)) for run in runs}
        teachers = {keys_of[run]: run.teachers for run in runs if run.teachers}
        soft = {of: self.mean_logits(several) for of, several in teachers.items()}
        on_train = [
            soft[of]["train"] if first.targets == "images" else self.soft_targets(several[0], first.targets)
            for of, several in teachers.items()
        ]
        # A network on hard targets is compared with the teacher of the students beside it, if there is only one.
        only = next(iter(soft)) if len(soft) == 1 else None
        teacher_keys = [keys_of[run] or only for run in runs]
        group = store.key(keys)
        training = MLPTrainer(
            sizes=first.sizes,
            members=[
                MemberSpec(run.seed, run.temperature, run.hard_label_weight, indices, list(soft).index(of) if of else 0)
                for run, indices, of in zip(runs, examples, teacher_keys, strict=True)
            ],
            transfer=TransferSet(
                self.data.train.images,
                self.data.train.labels,
                torch.stack(on_train) if len(on_train) > 1 else on_train[0] if on_train else None,
            ),
            context=TrainerContext(
                recipe=first.recipe,
                compute=self.compute,
                checkpoint=self.store.checkpoint(group),
                validation=self.data.split("validation") if first.early_stopping else None,
            ),
        )
        flops = step_flops(first.sizes, first.recipe.batch_size) * len(runs)
        observed, name = self._observed(first), f"{first.arm}, {seed_text}"
        advice = "lower its recipe's learning_rate or raise its temperature"
        for snapshot in self.train_loop(training, first.num_evals, flops, name=name, advice=advice):
            errors = training.errors_seen if observed is None else training.validation_errors(observed)
            training.history.append([snapshot.epoch, errors.tolist(), snapshot.loss.tolist()])
            self.log(runs, snapshot, {f"{'validation' if first.split == 'train' else 'test'}_errors": errors.tolist()})
        measured = self._measure(runs, training, examples, [soft[of] if of else None for of in teacher_keys])
        records = [
            self.record(
                run,
                self.require_finite(run, metrics_of_run),
                [[epoch, errors[m], round_loss(loss[m])] for epoch, errors, loss in training.history],
                training.seconds / len(runs),
                len(runs),
            )
            for m, (run, metrics_of_run) in enumerate(zip(runs, measured, strict=True))
        ]
        for key in keys:  # logits of an earlier training of the same run
            for name in (key, f"{key}.translated"):
                self.soft_targets_path(name).unlink(missing_ok=True)
        self.store.add(group, records, dict(training.net.state_dict()))

    def _observed(self, run: Run) -> ImageSet | None:
        """The images whose errors make the training curve; None where early stopping evaluates its own."""
        if run.early_stopping:
            return None
        return self.data.split("validation") if run.split == "train" else self.data.test

    def _measure(
        self, runs: list[Run], training: MLPTrainer, examples: list[Tensor], teachers: list[dict[str, Tensor] | None]
    ) -> list[dict[str, Any]]:
        """The metrics of each run, which has ``examples`` and a teacher's logits."""
        model, data, validation = training.net, self.data, self.data.split("validation")
        shared = all(torch.equal(indices, examples[0]) for indices in examples)
        train_images = data.train.images[examples[0]] if shared else data.train.images
        logits = {"test": model.logits(data.test.images), "train": model.logits(train_images)}
        if runs[0].split == "train":
            logits["validation"] = model.logits(validation.images)
        if runs[0].translated_test:
            logits["translated"] = translated_logits(model, data.test.images, TEST_TRANSLATIONS)
        if runs[0].early_stopping:
            logits["best"] = training.best_net().logits(data.test.images)
        measured = []
        for m, run in enumerate(runs):
            member_logits = {part: values[m] for part, values in logits.items()}
            result: dict[str, Any] = {
                f"test_{name}": value
                for name, value in metrics.evaluate(member_logits["test"], data.test.labels).items()
            }
            result["test_wrong"] = metrics.pack(member_logits["test"].argmax(-1) != data.test.labels)
            result["train_errors"] = errors(
                member_logits["train"] if shared else member_logits["train"][examples[m]],
                data.train.labels[examples[m]],
            )
            result["train_cases"] = len(examples[m])
            if (teacher := teachers[m]) is not None:
                result["agreement"] = metrics.agreement(member_logits["test"], teacher["test"])
                if len(run.teachers) > 1:  # networks that no other record measures together
                    result["teacher_errors"] = errors(teacher["test"], data.test.labels)
                    result["teacher_translated_errors"] = mean_errors(teacher["translated"], data.test.labels)
                if run.translated_test:
                    result["translated_agreement"] = metrics.agreement(
                        member_logits["translated"].flatten(0, 1), teacher["translated"].flatten(0, 1)
                    )
            if "translated" in member_logits:
                result["translated_errors"] = mean_errors(member_logits["translated"], data.test.labels)
            if "validation" in member_logits:
                result["validation_errors"] = errors(member_logits["validation"], validation.labels)
            if "best" in member_logits:
                result["stopped_errors"] = errors(member_logits["best"], data.test.labels)
                result["stopped_epoch"] = round(
                    int(training.best_step[m]) * run.recipe.batch_size / len(examples[m]), 2
                )
            if run.shifts is not None:
                part, images = ("validation", validation) if "validation" in member_logits else ("test", data.test)
                result |= shift_metrics(member_logits[part], images.labels, *run.shifts)
            measured.append(result)
        return measured


def translated_logits(
    model: BatchedMLP, images: Float[Tensor, "example pixel"], offsets: Iterable[Sequence[int]]
) -> Float[Tensor, "model translation example class"]:
    """Logits on images at each row and column offset, 0 .. 2 * ``PIXELS_TRANSLATED``; at the middle nothing moves."""
    views = translations(images, PIXELS_TRANSLATED)
    return torch.stack([model.logits(views[:, row, column].flatten(-2)) for row, column in offsets], dim=1)


def make_runner(data: Path | None) -> Callable[..., MnistRunner]:
    """Return a function that reads MNIST from a data directory and makes a runner from settings."""

    def make(settings: Common, **shared: Any) -> MnistRunner:
        return MnistRunner(settings=settings, data=load(data_folder(data)).first(settings.max_train_examples), **shared)

    return make
