"""Check of the methods' settings against the networks, before anything is trained."""

import copy
from collections.abc import Mapping

from torch import Tensor

from repro.data.types import ImageData
from repro.errors import UserError
from repro.variants import methods, models
from repro.variants.settings import VariantsSettings
from repro.variants.training import assemble


def check(settings: VariantsSettings, data: ImageData) -> None:
    """Assemble every method with student and teacher once.

    Raises:
        UserError: the grid of a method names a module that does not exist or does not match the teacher's, or whose
            output is neither maps nor units.
    """
    whole = [models.make(model.shape, data, 0) for model in (settings.student, settings.teacher)]
    for item in settings.methods:
        method = methods.find(item.method)
        setting = f"methods.{item.name}: grid"
        for options in item.grid:
            student, teacher = copy.deepcopy(whole) if method.has_teacher else (copy.deepcopy(whole[0]), None)
            *extractors, _ = assemble(student, teacher, method, method.Options(**options), data, 0, setting)
            for extractor in filter(None, extractors):
                _check_features(extractor.sample(data.train.images[:2]).features, setting)


def _check_features(features: Mapping[str, Tensor], setting: str) -> None:
    for name, output in features.items():
        if output.dim() not in (2, 4):
            raise UserError(
                f"{setting}: the output of {name} has {output.dim()} dimensions; name modules whose "
                "outputs are maps (image, channel, row, column) or units (image, unit)"
            )
