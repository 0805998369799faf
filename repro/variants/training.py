"""A student on its way through a method: one loop for all methods, so that nothing but the loss differs."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repro.core.compute import Compute
from repro.core.conv import ImageTraining
from repro.core.noise import Noise, Order, generator
from repro.core.recipe import Recipe
from repro.data.images import ImageData
from repro.errors import UserError
from repro.variants.features import Watching
from repro.variants.methods.base import Method, Seen
from repro.variants.nets import Net

# What the teacher is shown of an image: the student's own view of it, another draw, or the image as it is, once.
View = Literal["same", "different", "fixed"]


class Learning(nn.Module):
    """Student and the method's own modules: all that has weights to learn. It stands for the student."""

    def __init__(self, student: Net, method: Method):
        super().__init__()
        self.student, self.method = student, method

    def __len__(self) -> int:
        return 1

    def logits(self, images: Tensor) -> Float[Tensor, "1 case classes"]:
        """The student's, at test time."""
        return self.student.logits(images)

    def constrain(self, max_norm: float) -> None:
        """Bound the student's norms."""
        self.student.constrain(max_norm)

    @property
    def dtype(self) -> torch.dtype:
        """The type that the student multiplies in."""
        return self.student.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.student.dtype = dtype


class VariantTraining(ImageTraining):
    """One student, one method; the order of cases and the views of images are functions of the seed alone."""

    net: Learning

    def __init__(
        self,
        student: Net,
        method: type[Method],
        options: object,
        data: ImageData,
        recipe: Recipe,
        compute: Compute,
        seed: int,
        teacher: Net | None = None,
        view: View = "same",
        checkpoint: Path | None = None,
    ):
        """``seed`` draws the order of cases, their views, and the first weights of the method's own modules.

        Raises:
            UserError: a module that the method looks at is not there, or does not go with the teacher's.
        """
        self.teacher_net, self.view, self.seed = teacher, view, seed
        if method.has_teacher and teacher is None:
            raise ValueError("the method needs a teacher")
        self.student = Watching(student, method.student_modules(options), "methods: candidates: the student")
        some, shown = data.train.images[:2], None
        if teacher is not None:
            teacher.to(compute.device).eval().requires_grad_(False)
            teacher.dtype = compute.dtype
            self.taught = Watching(teacher, method.teacher_modules(options), "methods: candidates: the teacher")
            shown = self.taught.sample(some.to(compute.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator("the method's own weights", seed).initial_seed() % 2**63)
            try:
                own = method(options, self.student.sample(some), shown)
            except ValueError as error:
                raise UserError(f"methods: candidates: {error}") from error
        fixed = teacher.logits(data.train.images)[0] if teacher is not None and view == "fixed" else None
        order = Order(seed, torch.arange(len(data.train)), recipe.batch)
        super().__init__(
            Learning(student, own), [order], data.train.images, data.train.labels, None, recipe, compute,
            len(data.train), data.mirrored, fixed, checkpoint,
        )  # fmt: skip

    def losses(self, step: int) -> Float[Tensor, "1"]:
        """The method's loss on a step's batch."""
        images, labels, fixed = self.batch(step)
        method = self.net.method
        if method.looks_at_pixels:
            images = images.float().requires_grad_()
        noise = []
        if self.recipe.drop_input or self.recipe.drop_hidden:
            drop = self.recipe.drop_input, self.recipe.drop_hidden
            noise = [Noise([self.seed], step, *drop, images.device)]
        seen = self.student(images, *noise)
        said = None
        if fixed is not None:
            said = Seen(fixed)
        elif self.teacher_net is not None:
            shown = images
            if self.view == "different":
                shown = self.views(self.picked(step), step, -1 - self.seed)
            with torch.set_grad_enabled(method.looks_at_pixels):
                said = self.taught(shown)
        return method(seen, said, labels, step / self.steps)[None]
