"""Distillation from a teacher that sees the student's augmented images."""

from dataclasses import replace

import pytest
import torch

from repro.models.conv import ConvNet
from repro.specialists import experiment, pipeline
from repro.specialists.runs import Arm, CombinedRun, EnsembleRun, SameViewRun
from repro.specialists.same_view import SameViewTrainer, networks_per_image
from repro.training.compute import Compute
from repro.training.images import ImageTransferSet
from repro.training.random_streams import BatchSampler
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

BATCH = 64


class Teacher:
    """Logits that tell translated and flipped images apart; counts the calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images.flatten(1).double() @ torch.arange(images[0].numel()).double()[:, None]


@pytest.fixture
def trainer_with(stripy):
    def make(teacher):
        images = stripy.train.images[:300]
        recipe = Recipe(epochs=3, batch_size=BATCH, learning_rate=0.01, max_translation=2)
        return SameViewTrainer(
            predict=teacher,
            net=ConvNet(images.shape[1], 2, len(stripy.classes), 0),
            samplers=[BatchSampler(0, torch.arange(len(images)), BATCH)],
            transfer=ImageTransferSet(images, stripy.train.labels[:300], horizontal_flip=True),
            objective=None,
            num_examples=len(images),
            context=TrainerContext(recipe=recipe, compute=Compute(torch.device("cpu"), torch.float32)),
        )

    return make


def test_the_teacher_sees_the_students_images_an_epoch_at_a_time(trainer_with):
    teacher, expected = Teacher(), Teacher()
    trainer = trainer_with(teacher)
    batches = [trainer.batch(step) for step in range(trainer.steps)]
    assert teacher.calls == 3 and all(len(images) == BATCH for images, _, _ in batches)
    for images, _, logits in batches:
        assert torch.equal(logits, expected(images))
    assert len({float(logits[0]) for _, _, logits in batches}) == len(batches)
    # A resumed run gets the targets of the uninterrupted one.
    assert torch.equal(trainer_with(Teacher()).batch(trainer.steps - 2)[2], batches[-2][2])


def test_students_by_view_have_records_of_their_own(stripy, smoke, runner_for):
    runner = runner_for(smoke, stripy)
    generalist = experiment.generalist_run(smoke, 0)
    runner.execute([generalist])
    fixed = pipeline.student_of(smoke, Arm.SELF_DISTILLED, generalist, generalist)
    same = pipeline.student_of(smoke.changed({"redistill.view": "same"}), Arm.SELF_DISTILLED, generalist, generalist)
    assert isinstance(same, SameViewRun) and same != fixed and runner.key(same) != runner.key(fixed)
    assert runner.flops(same) == pytest.approx(runner.flops(fixed) * 4 / 3)
    kinds = {record["settings"]["run"] for record in runner.execute([fixed, same])}
    assert kinds == {"NetRun", "SameViewRun"}
    weights = [torch.cat([value.flatten() for value in runner.net_of(run).parameters()]) for run in (fixed, same)]
    assert not torch.equal(*weights) and all(bool(part.isfinite().all()) for part in weights)
    on_labels = pipeline.student_of(smoke.changed({"redistill.view": "same"}), Arm.ON_LABELS, generalist, None)
    assert not isinstance(on_labels, SameViewRun)


def test_networks_that_predict_an_image_are_counted(smoke):
    generalist = experiment.generalist_run(smoke, 0)
    assert networks_per_image(generalist, 10) == 1
    assert networks_per_image(EnsembleRun(Arm.ENSEMBLE, (generalist, replace(generalist, number=1))), 10) == 2
    assert networks_per_image(CombinedRun(Arm.COMBINED, generalist, ()), 10) == 1
