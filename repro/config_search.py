"""Settings that are searched stage by stage: the candidates of a stage, and settings with other values."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeVar

from pydantic import Field

from repro.config import Settings, assign, validate
from repro.errors import UserError

# Seeds from here on are those of a search; settings have at most 100 others.
FIRST_SEARCH_SEED = 900
# Ends the name of the results of a profile that ends after its search.
RESULTS_SUFFIX = "-search"
Stage = dict[str, tuple[Any, ...]]  # the values tried of some settings, by name
Params = tuple[tuple[str, Any], ...]
SearchedType = TypeVar("SearchedType", bound="SearchedSettings")


class SearchSettings(Settings):
    """Settings that the searches of all experiments share."""

    seeds: int = Field(ge=1, le=100, description="Number of seeds of the search.")
    only: bool = Field(
        False,
        description="Whether to end after the search; its results are kept apart from those of other profiles. "
        "Default: false.",
    )


class SearchedSettings(Settings):
    """Settings with a field ``search``, the values of which can be read and changed by name."""

    def value(self, name: str) -> Any:
        """Return the value of a setting by its name, such as ``specialists.recipe.epochs``."""
        value: Any = self
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def changed(self: SearchedType, values: dict[str, Any]) -> SearchedType:
        """Return the settings with other values, given by name, and without a search.

        Raises:
            UserError: there is no such setting, or a value is out of range.
        """
        tree = self.model_dump() | {"search": None}
        for name, value in values.items():
            assign(tree, name.split("."), value, f"setting {name}")
        return validate(type(self), tree)


def ends_after_search(settings: Settings) -> bool:
    """Return whether a profile has a search and nothing after it."""
    search = getattr(settings, "search", None)
    return search is not None and search.only


def best_of_stages(
    settings: SearchedType,
    stages: Sequence[Stage],
    judge: Callable[[Stage, SearchedType, dict[Params, SearchedType]], dict[Params, float] | None],
) -> SearchedType | None:
    """Return the settings with the best values of each stage, which hold from the next stage on; None if unfinished.

    Args:
        judge: returns the validation errors of a stage's candidates, by what tells them apart, without those that
            diverge; None if they are not finished. It is called with the stage, the best settings so far, and the
            candidates.

    Raises:
        UserError: all candidates of a stage diverge.
    """
    best = settings.changed({})
    for number, stage in enumerate(stages, 1):
        tried = candidates(number, best, stage)
        errors = judge(stage, best, tried)
        if errors is None:
            return None
        if not errors:
            raise UserError(f"search.stages: every candidate of stage {number} diverged; lower the learning rates")
        best = tried[min(errors, key=lambda params: (errors[params], str(dict(params))))]
    return best


def combinations(stage: Stage) -> list[dict[str, Any]]:
    """Return all combinations of the values of a stage, each by name."""
    return [dict(zip(stage, values, strict=True)) for values in product(*stage.values())]


def candidates(number: int, best: SearchedType, stage: Stage) -> dict[Params, SearchedType]:
    """Return the candidates of a stage, the best settings so far first, by what tells them apart in records."""
    tried = {to_params(number, best, stage): best}
    for values in combinations(stage):
        other = best.changed(values)
        tried.setdefault(to_params(number, other, stage), other)
    return tried


def to_params(number: int, settings: SearchedSettings, stage: Stage) -> Params:
    """Return what tells the candidates of a search apart: the stage and the values of its settings."""
    return (("stage", number), *((name, _plain(settings.value(name))) for name in stage))


def _plain(value: Any) -> Any:
    """Return lists of numbers as text."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
