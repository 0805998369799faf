"""Settings of the specialists experiment that are refused, and by which message."""

import pytest

from repro import config
from repro.errors import UserError
from repro.specialists import experiment
from repro.specialists.settings import SpecialistsSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("specialists.classes_per_specialist=1", "specialists.classes_per_specialist"),
        ("specialists.special_fraction=1.0", "special_fraction"),
        ("specialists.clustering=kmeans", "'k-means'"),
        ("ablations.num_specialists=5", "at most specialists.count"),
        ("data.source=folder", "data.folder"),
        ("data.folder=x", "data.folder"),
        ("data.sorce=icons", "did you mean source?"),
        ("generalist.channels=0", "generalist.channels"),
        ("soft_targets.temperature=inf", "soft_targets.temperature"),
        ("specialists.special_fraction=0.001", "special_fraction"),
        ("specialists.recipe.batch_size=1", "special_fraction"),
        ("generalist.recipe.max_norm=3", "max_norm"),
        ("specialists.recipe.hidden_dropout=0.5", "hidden_dropout"),
        ("ablations.generalist_widths=[0]", "ablations.generalist_widths"),
        ("ablations.top_n=[-1]", "ablations.top_n"),
        ("data.resize=32", "data.resize"),
        ("redistill.recipe.epochs=0", "redistill.recipe.epochs"),
        ("ablation_seeds=3", "ablation_seeds must be at most seeds"),
        ("results_suffix=-../x", "results_suffix"),
        ("results_suffix=wide", "results_suffix"),
        ("results_suffix=-a-search", "must not end with -search"),
        ("search.num_specialists=5", "at most specialists.count"),
        ('search.stages=[{"generalist.channels"=[4]}]', "search.stages: .* must all be in one of"),
        ('search.stages=[{"specialists.recipe.epochz"=[1]}]', "specialists.recipe.epochz: .* did you mean epochs?"),
        ('search.stages=[{"specialists.recipe.epochs.x"=[1]}]', "epochs is a single setting"),
        ('search.stages=[{"specialists.special_fraction"=[2.0]}]', "specialists.special_fraction"),
    ],
)
def test_invalid_settings_are_named(change, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), [change])


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ("specialists.classes_per_specialist=21", "specialists.classes_per_specialist"),
        ("specialists.count=21", "specialists.count"),
    ],
)
def test_too_few_classes_are_refused_before_training(stripy, smoke, runner_for, change, setting):
    settings = config.load(
        SpecialistsSettings,
        config.profile_path("specialists", "smoke"),
        ["specialists.classes_per_specialist=5", "ablations.subset_sizes=[]", change],
    )
    runner = runner_for(settings, stripy)
    with pytest.raises(UserError, match=setting):
        experiment.run(settings, runner, lambda records: None)
    assert not runner.finished
