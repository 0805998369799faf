"""Options of recipes: momentum, and what records hold of them."""

import pytest

from repro.training.recipe import Recipe

NEW = {
    "initial_momentum": 0.5, "momentum_warmup_fraction": 0.3, "initial_weight_sd": 0.01,
    "weight_averaging_fraction": 0.2,
}  # fmt: skip


def test_multistep_lowers_the_rate_at_each_milestone():
    recipe = Recipe(
        epochs=240, learning_rate=0.05, schedule="multistep", milestones=(0.625, 0.75, 0.875), warmup_fraction=0.01
    )
    rates = [recipe.rate(epoch * 10, 2400) for epoch in (0, 100, 149, 150, 179, 180, 209, 210, 239)]
    assert rates[0] < 0.01
    assert rates[1:] == pytest.approx([0.05, 0.05, 0.005, 0.005, 5e-4, 5e-4, 5e-5, 5e-5])


@pytest.mark.parametrize("options", [{"schedule": "multistep"}, {"milestones": (0.5,)}])
def test_milestones_belong_to_multistep(options):
    with pytest.raises(ValueError, match="milestones must be given for the schedule multistep, and for no other"):
        Recipe(epochs=1, learning_rate=1.0, **options)


def test_momentum_rises_and_stays():
    recipe = Recipe(epochs=1, optimizer="sgd", learning_rate=1.0, momentum=0.99, initial_momentum=0.5)
    assert [recipe.momentum_at(step, 100) for step in (0, 25, 50, 99)] == [0.5, 0.74, 0.99, 0.99]
    exact = recipe.model_copy(update={"momentum": 0.996})
    assert [exact.momentum_at(step, 100) for step in (49, 50, 99)] == [0.99, 0.996, 0.996]
    assert Recipe(epochs=1, learning_rate=1.0).momentum_at(3, 10) == 0.9


@pytest.mark.parametrize(("name", "value"), NEW.items())
def test_records_hold_later_options_only_if_they_are_set(name, value):
    plain, changed = Recipe(epochs=1, learning_rate=1.0), Recipe(epochs=1, learning_rate=1.0, **{name: value})
    record = changed.model_dump(mode="json")
    assert not NEW.keys() & plain.model_dump(mode="json").keys()
    assert NEW.keys() & record.keys() == {name} and Recipe.model_validate(record) == changed
