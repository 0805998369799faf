"""Section 8 with a teacher that sees every image as the student does, translated and flipped.

Such a teacher is consistent with its student; soft targets of the original images are not (Beyer et al. 2022,
arXiv 2106.05237).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from repro.models.conv import ConvNet
from repro.specialists.runs import AllClassesRun, CombinedRun, EnsembleRun
from repro.training.images import ImageTrainer

Predict = Callable[[UInt8[Tensor, "example channel row column"]], Float[Tensor, "example class"]]


def networks_per_image(teacher: AllClassesRun | None, classes: int) -> float:
    """Return the mean number of networks that predict an image, if all classes are equally frequent."""
    if isinstance(teacher, CombinedRun):
        return 1 + sum(len(member.subset) for member in teacher.specialists) / classes
    return len(teacher.nets) if isinstance(teacher, EnsembleRun) else 1


class SameViewTrainer(ImageTrainer[ConvNet]):
    """Distill a teacher that predicts the augmented images of an epoch at a time.

    A combination of many networks would be slow on one batch. The soft targets depend on the epoch alone, not on the
    step at which training resumes.
    """

    def __init__(self, *, predict: Predict, **options: Any):
        """Take the teacher's logits on images from ``predict``; the other options are those of ``ImageTrainer``."""
        self._predict, self._epoch, self._logits = predict, -1, torch.empty(0)
        super().__init__(**options)
        self._steps_per_epoch = math.ceil(self.num_examples / self.recipe.batch_size)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, labels and the teacher's logits on the same images."""
        epoch, place = divmod(step, self._steps_per_epoch)
        if epoch != self._epoch:
            first = epoch * self._steps_per_epoch
            steps = range(first, min(first + self._steps_per_epoch, self.steps))
            views = torch.cat([super(SameViewTrainer, self).batch(each)[0] for each in steps])
            self._epoch, self._logits = epoch, self._predict(views).to(self.labels.device)
        images, labels, _ = super().batch(step)
        return images, labels, self._logits[place * len(labels) : (place + 1) * len(labels)]
