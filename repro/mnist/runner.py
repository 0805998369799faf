"""Trains the runs of section 3 and records them."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.data.download import data_folder
from repro.data.mnist import Mnist, load
from repro.engine import files, store
from repro.engine.jobs import Job
from repro.engine.runner import Runner
from repro.errors import UserError
from repro.evaluation import metrics
from repro.mnist.runs import ALL_CLASSES, Run
from repro.mnist.settings import Common
from repro.models.flops import count_parameters, step_flops
from repro.models.mlp import BatchedMLP
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet
from repro.training.random_streams import Stream, generator
from repro.training.trainer import TrainerContext

# The modules that decide what a run's weights become.
CODE_DEPENDENCIES = (
    "kd/losses.py", "models/mlp.py", "training/mlp.py", "training/random_streams.py", "training/recipe.py",
    "training/trainer.py",
)  # fmt: skip

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
RECORD_VERSION = 1


@dataclass(kw_only=True)
class MnistRunner(Runner):
    """Runs on MNIST, those that can take their steps together trained as populations."""

    settings: Common
    data: Mnist

    @property
    def data_digest(self) -> str:
        """The digest of the data that the runs are made on."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """The code, and how many training cases there are."""
        return [RECORD_VERSION, self.settings.train_cases, store.code_version(CODE_DEPENDENCIES)]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """As of every run; an infinite temperature, which JSON has not, as a string."""
        found = super().settings_of(run)
        return found | {"temperature": "inf" if math.isinf(run.temperature) else run.temperature}

    def jobs(self, runs: list[Run]) -> list[Job]:
        """Runs that can be trained together as one job each."""
        alike: dict[tuple, list[Run]] = defaultdict(list)
        for run in runs:
            alike[run.population_key()].append(run)
        jobs = []
        for group in alike.values():
            size = max(1, self.settings.population_weights // count_parameters(group[0].sizes))
            for start in range(0, len(group), size):
                part = group[start : start + size]
                steps = part[0].recipe.steps(len(self.cases(part[0])))
                flops = steps * step_flops(part[0].sizes, part[0].recipe.batch_size) * len(part)
                jobs.append(Job(part[0].arm, self.train_group, (part,), flops))
        return jobs

    def cases(self, run: Run) -> Tensor:
        """Indices, into the training cases, of what a run's net is trained on."""
        count = len(self.data.split(run.split))
        cases = torch.arange(count)
        if run.share < 1:
            shuffled = torch.randperm(count, generator=generator(Stream.TRAINING_FRACTION, run.seed))
            cases = shuffled[: max(1, round(run.share * count))].sort().values
        if run.kept != ALL_CLASSES:
            cases = cases[torch.isin(self.data.train.labels[cases], torch.tensor(run.kept))]
        return cases

    def weights_of(self, run: Run) -> BatchedMLP:
        """A finished net; trained again where its kept weights are damaged."""
        net = BatchedMLP(run.sizes, [run.seed])
        net.load_state_dict(self.load_tensors(run))
        return net

    def soft_targets_path(self, key: str) -> Path:
        """Where a teacher's logits are kept."""
        return self.store.folder / f"{key}.logits"

    def teacher_logits(self, run: Run) -> dict[str, Tensor]:
        """A teacher's logits on the training and the test cases, computed once and kept."""
        path = self.soft_targets_path(self.key(run))
        try:
            return files.load_tensors(path)[0]
        except files.CorruptFile as damage:
            if path.exists():
                files.quarantine(path, f"{damage}; it is computed again")
        net = self.weights_of(run)
        logits = {"train": net.logits(self.data.train.images)[0], "test": net.logits(self.data.test.images)[0]}
        files.save_tensors(path, logits, {})
        return logits

    def train_group(self, runs: list[Run]) -> None:
        """Train one population and keep its records."""
        first, keys = runs[0], [self.key(run) for run in runs]
        self.progress.now(f"{first.arm}: {len(runs)} x {'-'.join(map(str, first.hidden))}, seed {first.seed}")
        cases = self.cases(first)
        teachers = {self.key(run.teacher): run.teacher for run in runs if run.teacher}
        assert len(teachers) <= 1, "a population learns from one teacher"
        soft = self.teacher_logits(next(iter(teachers.values()))) if teachers else None
        group = store.key(keys)
        training = MLPTrainer(
            sizes=first.sizes,
            members=[MemberSpec(run.seed, run.temperature, run.hard_label_weight, cases) for run in runs],
            transfer=TransferSet(self.data.train.images, self.data.train.labels, soft["train"] if soft else None),
            context=TrainerContext(
                recipe=first.recipe,
                compute=self.compute,
                checkpoint=self.store.checkpoint(group),
                validation=self.data.split("validation") if first.early_stopping else None,
            ),
        )
        flops = step_flops(first.sizes, first.recipe.batch_size) * len(runs)
        self.progress.expect(-flops * training.step)  # done in an earlier sitting
        seen = (
            None
            if first.early_stopping
            else self.data.split("validation")
            if first.split == "train"
            else self.data.test
        )
        for snapshot in training.run(first.num_evals, lambda: self.progress.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise UserError(
                    f"{first.arm}, seed {first.seed}: training diverged (the loss is not finite); "
                    "lower its recipe's learning_rate or raise its temperature"
                )
            errors = training.errors_seen if seen is None else training.validation_errors(seen)
            training.history.append([round(snapshot.epoch, 3), errors.tolist(), snapshot.loss.tolist()])
        measured = self._measure(runs, training, cases, soft)
        records = [
            self.record(
                run,
                found,
                [[e, errors[m], float(f"{loss[m]:.4g}")] for e, errors, loss in training.history],
                training.seconds / len(runs),
                len(runs),
            )
            for m, (run, found) in enumerate(zip(runs, measured, strict=True))
        ]
        for key in keys:  # of an earlier training, should a damaged one be made again
            self.soft_targets_path(key).unlink(missing_ok=True)
        self.store.add(group, records, dict(training.net.state_dict()))

    def _measure(self, runs: list[Run], training: MLPTrainer, cases: Tensor, soft: dict | None) -> list[dict[str, Any]]:
        """What the records say of each member."""
        net, data = training.net, self.data
        on_test, on_cases = net.logits(data.test.images), net.logits(data.train.images[cases])
        validation = data.split("validation")
        on_validation = net.logits(validation.images) if runs[0].split == "train" else None
        best = training.best_net().logits(data.test.images) if runs[0].early_stopping else None
        measured = []
        for m, run in enumerate(runs):
            found: dict[str, Any] = {
                f"test_{name}": value for name, value in metrics.evaluate(on_test[m], data.test.labels).items()
            }
            found["test_wrong"] = metrics.pack(on_test[m].argmax(-1) != data.test.labels)
            found["train_errors"] = int((on_cases[m].argmax(-1) != data.train.labels[cases]).sum())
            found["train_cases"] = len(cases)
            if soft is not None:
                found["agreement"] = metrics.agreement(on_test[m], soft["test"])
            if on_validation is not None:
                found["validation_errors"] = int((on_validation[m].argmax(-1) != validation.labels).sum())
            if best is not None:
                found["stopped_errors"] = int((best[m].argmax(-1) != data.test.labels).sum())
                found["stopped_epoch"] = round(int(training.best_step[m]) * run.recipe.batch_size / len(cases), 2)
            if run.shifts is not None:
                classes, low, high, step = run.shifts
                shifts = torch.arange(round(low / step), round(high / step) + 1) * step
                where = data.test if on_validation is None else validation
                curve = metrics.shift_curve(
                    (on_test if on_validation is None else on_validation)[m], where.labels, classes, shifts
                )
                found["shifts"] = [round(shift, 3) for shift in shifts.tolist()]
                found["shift_errors"], found["shift_errors_on_classes"] = curve
                found["cases_of_classes"] = int(torch.isin(where.labels, torch.tensor(classes)).sum())
            measured.append(found)
        return measured


def make_runner(data: Path | None) -> Callable[..., MnistRunner]:
    """What reads MNIST from a data directory and gives a runner, once the settings are known."""

    def make(settings: Common, **shared: Any) -> MnistRunner:
        return MnistRunner(settings=settings, data=load(data_folder(data)).first(settings.train_cases), **shared)

    return make
