"""Settings of sections 4 and 6 and their profiles."""

import pytest

from repro import config
from repro.data.speech.sources import CorpusSource
from repro.errors import UserError
from repro.models.flops import count_parameters
from repro.speech.features import INPUTS
from repro.speech.settings import Ablations, DataFraction, Decoding, FrameRecipe, SpeechSettings


def test_network_of_the_paper_has_84_4_million_parameters():
    settings = config.load(SpeechSettings, config.profile_path("speech", "paper_scale"))
    assert INPUTS == 26 * 40 and settings.hidden_units == (2560,) * 8
    assert count_parameters((INPUTS, *settings.hidden_units, 14_000)) == pytest.approx(84.4e6, rel=1e-3)


@pytest.mark.parametrize("profile", ["paper", "speechocean762", "quick", "smoke"])
def test_profiles_follow_the_procedure_of_the_paper(profile):
    settings = config.load(SpeechSettings, config.profile_path("speech", profile))
    distilled, recipe = settings.distilled, settings.recipe
    assert 0 < distilled.hard_label_weight <= 0.5 and {1.0, 2.0} <= set(distilled.temperatures)
    assert 0.03 in {entry.fraction for entry in settings.data_fractions}
    assert not any((recipe.hidden_dropout, recipe.max_translation, distilled.recipe.hidden_dropout))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.corpus=timit", "synth, librispeech, or kaldi:PATH"),
        ("data.corpus=kaldi:", "kaldi:PATH"),
        ("data.validation_speaker_fraction=1.0", "data.validation_speaker_fraction"),
        ("hidden_units=[]", "hidden_units"),
        ("ensemble_size=0", "ensemble_size"),
        ("ablations.ensemble_sizes=[11]", "at most ensemble_size"),
        ("decoding.num_models=4", "at most ensemble_size"),
        ("distilled.temperatures=[inf]", "distilled.temperatures"),
        ("distilled.hard_wait=1", "did you mean hard_label_weight"),
        ("decoding.acoustic_scales=[0]", "decoding.acoustic_scales"),
        ("decoding.general_words=[]", "decoding.general_words"),
        ('search.stages=[{"distilled.seeds"=[1]}, {"recipe.epochs"=[1]}]', "must come after"),
        ('search.stages=[{"decoding.num_models"=[1]}]', "must all be in distilled, or all in recipe"),
        ('search.stages=[{"recipe.epochz"=[1]}]', "recipe.epochz: .* did you mean epochs?"),
        ('search.stages=[{"hidden_units"=[[0]]}]', "hidden_units"),
    ],
)
def test_bad_settings_are_named_in_the_message(change, message):
    with pytest.raises(UserError, match=message):
        config.load(SpeechSettings, config.profile_path("speech", "smoke"), [change])


@pytest.mark.parametrize("model", [SpeechSettings, CorpusSource, DataFraction, Ablations, Decoding])
def test_renamed_settings_exist_under_their_new_names_only(model):
    assert set(model.renamed.values()) <= set(model.model_fields)
    assert set(model.renamed).isdisjoint(model.model_fields)


def all_settings(model=SpeechSettings):
    yield model
    for field in model.model_fields.values():
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, config.Settings):
                yield from all_settings(inner)


def test_settings_are_described_in_full_sentences():
    room = [model for model in all_settings() if model.__module__ == SpeechSettings.__module__]
    fields = {name: field for model in room for name, field in model.model_fields.items()
              if model is not FrameRecipe}  # fmt: skip
    assert {"fraction", "max_active_hmms", "hard_epochs", "num_evals"} <= set(fields)
    for name, field in fields.items():
        assert field.description and field.description[0].isupper() and field.description.endswith("."), name
