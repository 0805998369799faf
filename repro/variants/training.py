"""A student on its way through a method: one loop for all methods, so that nothing but the loss differs."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repro.config import Settings
from repro.data.types import ImageData
from repro.errors import UserError
from repro.models.base import Model
from repro.training.compute import Compute
from repro.training.images import ImageTrainer, ImageTransferSet
from repro.training.random_streams import BatchSampler, Dropout, Stream, generator
from repro.training.trainer import TrainerContext
from repro.variants.features import FeatureExtractor
from repro.variants.methods.base import Method, ModelOutput
from repro.variants.models import Net

# What the teacher is shown of an image: the student's own view of it, another draw, or the image as it is, once; the
# last is also all that a student sees that is shown no shifts and no mirror images ("still").
View = Literal["same", "different", "fixed", "still"]


class Learning(Model):
    """Student and the method's own modules: all that has weights to learn. It stands for the student."""

    def __init__(self, student: Net, method: Method):
        super().__init__()
        self.student, self.method = student, method

    def __len__(self) -> int:
        return 1

    def logits(self, images: Tensor) -> Float[Tensor, "1 case classes"]:
        """The student's, at test time."""
        return self.student.logits(images)

    def clip_weight_norms(self, max_norm: float) -> None:
        """Bound the student's norms."""
        self.student.clip_weight_norms(max_norm)

    @property
    def dtype(self) -> torch.dtype:
        """The type that the student multiplies in."""
        return self.student.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.student.dtype = dtype


@dataclass(frozen=True)
class Distillation:
    """How a student is distilled: the method with its options, the teacher, and the teacher's view of an image."""

    method: type[Method]
    options: Settings
    teacher: Net | None = None
    view: View = "same"


class DistillationTrainer(ImageTrainer[Learning]):
    """One student, one method; the order of cases and the views of images are functions of the seed alone."""

    def __init__(
        self,
        *,
        student: Net,
        distillation: Distillation,
        data: ImageData,
        seed: int,
        context: TrainerContext,
        order: int | None = None,
    ):
        """Prepare student, teacher and method, and resume from the checkpoint if there is one.

        Args:
            student: the network to train.
            distillation: method, teacher and the teacher's view.
            data: images; the training set is the transfer set.
            seed: seed of the initial weights of the method's modules.
            context: recipe, device and checkpoint.
            order: seed of the data order and of the augmentation. Default: ``seed``.

        Raises:
            UserError: a module that the method looks at is not there, or does not go with the teacher's.
        """
        method, options = distillation.method, distillation.options
        teacher, view = distillation.teacher, distillation.view
        recipe, compute = context.recipe, context.compute
        self.teacher_net, self.view, self.seed = teacher, view, seed
        if teacher is not None:
            teacher.to(compute.device).eval().requires_grad_(False)
            teacher.dtype = compute.dtype
        self.student, self.taught, own = assemble(student, teacher, method, options, data, seed)
        moves = view != "still" and (recipe.max_translation > 0 or data.horizontal_flip)
        if not moves:
            recipe = recipe.model_copy(update={"max_translation": 0})
        looked_into = own.needs_input_gradient or method.teacher_modules(options)
        # What the teacher says of images that never change is worked out once, where that is all that is asked of it.
        kept = (view in ("fixed", "still") or not moves) and not looked_into
        first = seed if order is None else order
        super().__init__(
            net=Learning(student, own),
            samplers=[BatchSampler(first, torch.arange(len(data.train)), recipe.batch_size)],
            transfer=ImageTransferSet(
                data.train.images,
                data.train.labels,
                said_of(teacher, data.train.images, compute) if teacher is not None and kept else None,
                data.horizontal_flip and moves,
            ),
            objective=None,
            num_examples=len(data.train),
            context=replace(context, recipe=recipe),
        )
        self.whole = self.steps

    def losses(self, step: int) -> Float[Tensor, "1"]:
        """The method's loss on a step's batch."""
        images, labels, fixed = self.batch(step)
        method = self.net.method
        if method.needs_input_gradient:
            images = images.float().requires_grad_()
        noise = []
        if self.recipe.input_dropout or self.recipe.hidden_dropout:
            drop = self.recipe.input_dropout, self.recipe.hidden_dropout
            noise = [Dropout([self.seed], step, *drop, images.device)]
        seen = self.student(images, *noise)
        said = None
        if fixed is not None:
            said = ModelOutput(fixed)
        elif self.taught is not None:
            shown = images
            if self.view == "different":
                shown = self.augment(self.batch_indices(step), step, -1 - self.samplers[0].seed)
            with torch.set_grad_enabled(method.needs_input_gradient):
                said = self.taught(shown)
        return method(seen, said, labels, step / self.whole)[None]


def assemble(
    student: Net, teacher: Net | None, method: type[Method], options: Settings, data: ImageData, seed: int
) -> tuple[FeatureExtractor, FeatureExtractor | None, Method]:
    """Student and teacher with the modules that the method looks at, and the method with modules of its own.

    Raises:
        UserError: a module is not there, or does not go with the teacher's.
    """
    if method.has_teacher and teacher is None:
        raise ValueError("the method needs a teacher")
    some, taught, shown = data.train.images[:2], None, None
    watched = FeatureExtractor(student, method.student_modules(options), "methods: candidates: the student")
    if teacher is not None:
        taught = FeatureExtractor(teacher, method.teacher_modules(options), "methods: candidates: the teacher")
        shown = taught.sample(some.to(next(teacher.parameters()).device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(Stream.METHOD_WEIGHTS, seed).initial_seed() % 2**63)
        try:
            return watched, taught, method(options, watched.sample(some), shown)
        except ValueError as error:
            raise UserError(f"methods: candidates: {error}") from error


@torch.no_grad()
def said_of(teacher: Net, images: Tensor, compute: Compute, batch: int = 1000) -> Float[Tensor, "case classes"]:
    """A teacher's logits of images as they are, multiplied in the type of training."""
    return torch.cat([teacher(part.to(compute.device))[0] for part in images.split(batch)])
