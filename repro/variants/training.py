"""A student on its way through a method: one loop for all methods, so that nothing but the loss differs."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repro.config import Settings
from repro.core.compute import Compute
from repro.core.conv import ImageTraining
from repro.core.nets import Nets
from repro.core.noise import Noise, Order, generator
from repro.core.recipe import Recipe
from repro.data.images import ImageData
from repro.errors import UserError
from repro.variants.features import Watching
from repro.variants.methods.base import Method, Seen
from repro.variants.nets import Net

# What the teacher is shown of an image: the student's own view of it, another draw, or the image as it is, once; the
# last is also all that a student sees that is shown no shifts and no mirror images ("still").
View = Literal["same", "different", "fixed", "still"]


class Learning(Nets):
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


class VariantTraining(ImageTraining[Learning]):
    """One student, one method; the order of cases and the views of images are functions of the seed alone."""

    def __init__(
        self,
        student: Net,
        method: type[Method],
        options: Settings,
        data: ImageData,
        recipe: Recipe,
        compute: Compute,
        seed: int,
        teacher: Net | None = None,
        view: View = "same",
        checkpoint: Path | None = None,
        order: int | None = None,
    ):
        """``order`` draws the order of cases and their views, ``seed`` (which is the order where none is given) the
        first weights of the method's own modules.

        Raises:
            UserError: a module that the method looks at is not there, or does not go with the teacher's.
        """
        self.teacher_net, self.view, self.seed = teacher, view, seed
        if teacher is not None:
            teacher.to(compute.device).eval().requires_grad_(False)
            teacher.dtype = compute.dtype
        self.student, self.taught, own = assemble(student, teacher, method, options, data, seed)
        moves = view != "still" and (recipe.jitter > 0 or data.mirrored)
        if not moves:
            recipe = recipe.model_copy(update={"jitter": 0})
        looked_into = own.looks_at_pixels or method.teacher_modules(options)
        # What the teacher says of images that never change is worked out once, where that is all that is asked of it.
        kept = (view in ("fixed", "still") or not moves) and not looked_into
        first = seed if order is None else order
        super().__init__(
            Learning(student, own), [Order(first, torch.arange(len(data.train)), recipe.batch)], data.train.images,
            data.train.labels, None, recipe, compute, len(data.train), data.mirrored and moves,
            said_of(teacher, data.train.images, compute) if teacher is not None and kept else None, checkpoint,
        )  # fmt: skip
        self.whole = self.steps

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
        elif self.taught is not None:
            shown = images
            if self.view == "different":
                shown = self.views(self.picked(step), step, -1 - self.orders[0].seed)
            with torch.set_grad_enabled(method.looks_at_pixels):
                said = self.taught(shown)
        return method(seen, said, labels, step / self.whole)[None]


def assemble(
    student: Net, teacher: Net | None, method: type[Method], options: Settings, data: ImageData, seed: int
) -> tuple[Watching, Watching | None, Method]:
    """Student and teacher with the modules that the method looks at, and the method with modules of its own.

    Raises:
        UserError: a module is not there, or does not go with the teacher's.
    """
    if method.has_teacher and teacher is None:
        raise ValueError("the method needs a teacher")
    some, taught, shown = data.train.images[:2], None, None
    watched = Watching(student, method.student_modules(options), "methods: candidates: the student")
    if teacher is not None:
        taught = Watching(teacher, method.teacher_modules(options), "methods: candidates: the teacher")
        shown = taught.sample(some.to(next(teacher.parameters()).device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator("the method's own weights", seed).initial_seed() % 2**63)
        try:
            return watched, taught, method(options, watched.sample(some), shown)
        except ValueError as error:
            raise UserError(f"methods: candidates: {error}") from error


@torch.no_grad()
def said_of(teacher: Net, images: Tensor, compute: Compute, batch: int = 1000) -> Float[Tensor, "case classes"]:
    """A teacher's logits of images as they are, multiplied in the type of training."""
    return torch.cat([teacher(part.to(compute.device))[0] for part in images.split(batch)])
