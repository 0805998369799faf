"""Training of a student by a method: one loop for all methods, so that nothing but the loss differs."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repro.config import Settings
from repro.data.types import ImageData
from repro.errors import UserError
from repro.models.base import Model
from repro.models.conv import ConvNet
from repro.training.compute import Compute
from repro.training.images import ImageTrainer, ImageTransferSet
from repro.training.random_streams import BatchSampler, Dropout, Stream, generator
from repro.training.trainer import TrainerContext
from repro.variants.feature_cache import FeatureCache
from repro.variants.features import FeatureExtractor
from repro.variants.methods.base import Method, ModelOutput
from repro.variants.models import Network

# View of an image that the teacher sees: "same" is the student's augmented image, "different" another augmentation of
# it, "fixed" the original image; with "still" the student, too, sees the original image.
View = Literal["same", "different", "fixed", "still"]


class Learning(Model):
    """The student together with the modules of the method: everything that has parameters to train."""

    def __init__(self, student: Network, method: Method):
        super().__init__()
        self.student, self.method = student, method

    def __len__(self) -> int:
        return 1

    def logits(self, images: Tensor) -> Float[Tensor, "1 case classes"]:
        """Return the student's logits at test time."""
        return self.student.logits(images)

    def clip_weight_norms(self, max_norm: float) -> None:
        """Bound the norms of the student's incoming weights."""
        self.student.clip_weight_norms(max_norm)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the student's matrix products."""
        return self.student.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.student.dtype = dtype


@dataclass(frozen=True)
class Distillation:
    """Method of a distillation with its options, teacher, and the view of an image that the teacher sees."""

    method: type[Method]
    options: Settings
    teacher: Network | None = None
    view: View = "same"


class DistillationTrainer(ImageTrainer[Learning]):
    """Training of one student by one method; order of examples and augmentation depend on the seed alone."""

    def __init__(
        self,
        *,
        student: Network,
        distillation: Distillation,
        data: ImageData,
        seed: int,
        context: TrainerContext,
        order: int | None = None,
        cache: FeatureCache | None = None,
    ):
        """Prepare student, teacher and method, and resume from the checkpoint if there is one.

        Args:
            student: the network to train.
            distillation: method, teacher and the teacher's view.
            data: images; the training set is the transfer set.
            seed: seed of the initial weights of the method's modules.
            context: recipe, device and checkpoint.
            order: seed of the data order and of the augmentation. Default: ``seed``.
            cache: where a convolutional teacher's pooled features of each step are stored. Default: they are not.

        Raises:
            UserError: a module that the method reads does not exist or does not match the teacher's.
        """
        method, options = distillation.method, distillation.options
        teacher, view = distillation.teacher, distillation.view
        recipe, compute = context.recipe, context.compute
        self.teacher_net, self.view, self.seed, self.cache = teacher, view, seed, cache
        if teacher is not None:
            teacher.to(compute.device).eval().requires_grad_(False)
            teacher.dtype = compute.dtype
        self.student, self.teacher_features, module = assemble(student, teacher, method, options, data, seed)
        moves = view != "still" and (recipe.max_translation > 0 or data.horizontal_flip)
        if not moves:
            recipe = recipe.model_copy(update={"max_translation": 0})
        # Logits of images that never change are computed once, where the method needs nothing else of the teacher.
        precompute = (view in ("fixed", "still") or not moves) and not module.needs_features(0)
        first = seed if order is None else order
        super().__init__(
            net=Learning(student, module),
            samplers=[BatchSampler(first, torch.arange(len(data.train)), recipe.batch_size)],
            transfer=ImageTransferSet(
                data.train.images,
                data.train.labels,
                fixed_logits(teacher, data.train.images, compute) if teacher is not None and precompute else None,
                data.horizontal_flip and moves,
            ),
            objective=None,
            num_examples=len(data.train),
            context=replace(context, recipe=recipe),
        )
        self.whole = self.steps

    def losses(self, step: int) -> Float[Tensor, "1"]:
        """Return the method's loss on the batch of a step."""
        images, labels, fixed = self.batch(step)
        method = self.net.method
        if method.needs_input_gradient:
            images = images.float().requires_grad_()
        noise = []
        if self.recipe.input_dropout or self.recipe.hidden_dropout:
            drop = self.recipe.input_dropout, self.recipe.hidden_dropout
            noise = [Dropout([self.seed], step, *drop, images.device)]
        student = self.student(images, *noise)
        teacher = ModelOutput(fixed) if fixed is not None else self.teacher_output(images, step)
        return method(student, teacher, labels, step / self.whole)[None]

    def teacher_output(self, images: Tensor, step: int) -> ModelOutput | None:
        """Return what the method needs of the teacher, for a step at which the student sees ``images``."""
        method, net = self.net.method, self.teacher_net
        if self.teacher_features is None:
            return None

        def view() -> Tensor:
            different = self.view == "different"
            return self.augment(self.batch_indices(step), step, -1 - self.samplers[0].seed) if different else images

        with torch.set_grad_enabled(method.needs_input_gradient):
            if self.cache is None or not isinstance(net, ConvNet) or method.needs_features(step / self.whole):
                return self.teacher_features(view())
            return ModelOutput(net.head(self.cache.at(step, lambda: net.pooled(view()))))


def assemble(
    student: Network,
    teacher: Network | None,
    method: type[Method],
    options: Settings,
    data: ImageData,
    seed: int,
    setting: str = "methods: grid",
) -> tuple[FeatureExtractor, FeatureExtractor | None, Method]:
    """Return student and teacher as feature extractors, and the method with its modules, drawn from ``seed``.

    ``setting`` is what an error message names.

    Raises:
        UserError: a module does not exist or does not match the teacher's.
    """
    if method.has_teacher and teacher is None:
        raise ValueError("the method needs a teacher")
    images, teacher_features, teacher_sample = data.train.images[:2], None, None
    student_features = FeatureExtractor(student, method.student_modules(options), f"{setting}: the student")
    if teacher is not None:
        teacher_features = FeatureExtractor(teacher, method.teacher_modules(options), f"{setting}: the teacher")
        teacher_sample = teacher_features.sample(images.to(next(teacher.parameters()).device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(Stream.METHOD_WEIGHTS, seed).initial_seed() % 2**63)
        try:
            return student_features, teacher_features, method(options, student_features.sample(images), teacher_sample)
        except ValueError as error:
            raise UserError(f"{setting}: {error}") from error


@torch.no_grad()
def fixed_logits(
    teacher: Network, images: Tensor, compute: Compute, batch: int = 1000
) -> Float[Tensor, "case classes"]:
    """Return a teacher's logits of images without augmentation, computed in the data type of training."""
    return torch.cat([teacher(part.to(compute.device))[0] for part in images.split(batch)])
