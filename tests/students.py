"""Students of small models that tests of the variants train."""

from repro.training import compute
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext
from repro.variants import methods, models
from repro.variants.models import Shape
from repro.variants.training import Distillation, DistillationTrainer

CPU = compute.choose("cpu", "fp32")
WIDE, NARROW = (Shape(kind="conv", width=width) for width in (4, 2))
DEEP = Shape(kind="mlp", hidden=(12, 9))
RECIPE = Recipe(epochs=1, batch_size=80, optimizer="sgd", learning_rate=0.05, max_translation=2)
OPTIONS = {
    "fitnets": {"pairs": [("stages.1", "stages.1")], "stage1_fraction": 0.5},
    "feature_maps": {"pairs": [("stages.0", "stages.0"), ("stages.2", "stages.2")]},
    "attention": {"pairs": [("stages.1", "stages.1")]},
    "self_distillation": {"exits": ["stages.0"]},
}


def training(data, name="kd", shape=NARROW, seed=3, options=None, **changed):
    method = methods.find(name)
    chosen = method.Options(**(OPTIONS.get(name, {}) if options is None else options))
    if method.has_teacher and "teacher" not in changed:
        changed["teacher"] = models.make(WIDE, data, 1)
    recipe = changed.pop("recipe", RECIPE)
    distillation = Distillation(method, chosen, changed.get("teacher"), changed.get("view", "same"))
    context = TrainerContext(recipe=recipe, compute=CPU, checkpoint=changed.get("checkpoint"))
    student = models.make(shape, data, seed)
    return DistillationTrainer(student=student, distillation=distillation, data=data, seed=seed, context=context)


def weights(trainer):
    return {name: value.clone() for name, value in trainer.net.student.state_dict().items()}
