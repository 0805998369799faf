"""Fixtures of speech: a small corpus, smoke settings, and runners on both."""

import pytest
from toy_corpus import decode, decode_stock, recordings, validation_rates

from repro import config
from repro.data.speech.corpus import Corpus
from repro.speech.decoding import pipeline
from repro.speech.features import pack
from repro.speech.preparation import Prepared
from repro.speech.runner import SpeechRunner
from repro.speech.settings import SpeechSettings


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    train = recordings("abcdefgh", 0)
    held, test = recordings("ij", 1), recordings("klm", 2)
    transcripts = {id: ("go", "there") for id, *_ in (*train, *held, *test)}
    return Prepared("toy", False, pack(train), pack(held), pack(test), "toy", {}, {}, transcripts)


@pytest.fixture(scope="module")
def smoke() -> SpeechSettings:
    changes = ["recipe.epochs=3", "distilled.recipe.epochs=3", "recipe.batch_size=64", "distilled.recipe.batch_size=64"]
    changes.append("decoding.acoustic_scales=[0.5, 1.0]")
    return config.load(SpeechSettings, config.profile_path("speech", "smoke"), changes)


@pytest.fixture
def runner_for(runner_for, prepared, monkeypatch):
    """A factory of runners whose decoder is replaced: errors are a function of the scores."""
    for stand_in in (decode, decode_stock, validation_rates):
        monkeypatch.setattr(pipeline, stand_in.__name__, stand_in)

    def make(settings, data=prepared, folder="runs") -> SpeechRunner:
        return runner_for(settings, data, folder, kind=SpeechRunner, corpus=Corpus("toy", (), (), {}, "toy"))

    return make
