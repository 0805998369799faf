"""Scores for the decoder, its acoustic scale and vocabulary, and the language model."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from repro.data.speech.corpus import Corpus
from repro.errors import UserError
from repro.speech import experiment
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.decoding.decoder import Search, costs
from repro.speech.features import Inputs
from repro.speech.settings import Decoding


def test_scores_are_log_posterior_minus_log_prior(smoke, runner_for, prepared):
    runner = runner_for(smoke)
    nets = experiment.ensemble_nets(smoke)
    runner.execute(nets)
    prior = pipeline.log_prior(prepared.train)
    assert float(prior.exp().sum()) == pytest.approx(1, rel=1e-4)
    net = runner.population(nets)
    scores = next(pipeline.scores(net, prepared.test, torch.tensor([2]), prior, runner.compute))
    at = (prepared.test.utterance == 2).nonzero()[:, 0]
    posterior = net(Inputs(prepared.test, runner.compute)[at]).softmax(-1).mean(0).detach()
    np.testing.assert_allclose(scores, (posterior.log() - prior).numpy(), atol=1e-4)
    single = runner.population(nets[:1])
    several = list(pipeline.scores(single, prepared.test, torch.tensor([5, 2]), prior, runner.compute))
    posterior = single(Inputs(prepared.test, runner.compute)[at])[0].log_softmax(-1).detach()
    assert len(several[0]) == int((prepared.test.utterance == 5).sum())
    np.testing.assert_allclose(costs(several[1], 0.5), costs((posterior - prior).numpy(), 0.5), atol=1)


def test_scores_are_made_on_one_thread_beside_the_decoders():
    threads, seen = torch.get_num_threads(), []

    def scores():
        seen.append(torch.get_num_threads())
        yield np.zeros((1, STATES), np.float32)
        raise UserError("no scores")

    decoders = [SimpleNamespace(words=lambda scores: ["yes"])] * 2
    torch.set_num_threads(2)
    with pytest.raises(UserError, match="no scores"):
        pipeline.decode_scores(decoders, scores())
    assert seen == [1] and torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_acoustic_scales_are_compared_on_validation(prepared, monkeypatch):
    task = pipeline.Task({}, None, torch.arange(2), torch.arange(3), {"test": {}})
    calls = []

    def decode(task, scores, search, threads, on_done):
        part = next(iter(scores))
        calls.append((part, search.acoustic_scale))
        return [["go", "there"] if search.acoustic_scale == 0.5 else ["no"]] * (2 if part == "validation" else 3)

    names = {id(prepared.validation): "validation", id(prepared.test): "test"}
    monkeypatch.setattr(pipeline, "_decode", decode)
    searches = {scale: Search(acoustic_scale=scale) for scale in (0.3, 0.5)}
    on_done = lambda: None  # noqa: E731
    make_scores = lambda frames, _: iter([names[id(frames)]])  # noqa: E731
    assert pipeline.validation_rates(task, prepared, make_scores, searches, 1, on_done) == {0.3: 1.0, 0.5: 0.0}
    assert calls == [("validation", 0.3), ("validation", 0.5)]
    metrics = pipeline.decode(task, prepared, make_scores, searches[0.3], 1, on_done)
    assert calls[2:] == [("test", 0.3)] and metrics["scale"] == 0.3
    assert sum(metrics["test_substitutions"]) + sum(metrics["test_deletions"]) == 6


class Searches:
    """A runner whose records give the models' rates by general words and scale, none for an unknown number."""

    def __init__(self, rates):
        self.rates, self.requested = rates, []

    def expect(self, runs):
        self.expected = runs

    def execute(self, runs):
        assert runs is self.expected
        self.requested += [(run.general_words, *run.scales, run.seed) for run in runs]
        return [self.record(run) for run in runs if run.general_words in self.rates]

    def record(self, run):
        (scale,), (net,) = run.scales, run.nets
        rate = self.rates[run.general_words][scale][net.seed]
        return {"metrics": {"rates": [[scale, [rate]]]}, "settings": {"general_words": run.general_words}}


def test_scale_then_vocabulary_are_chosen_by_the_mean_over_the_models(smoke):
    decoding = Decoding(utterances=1, validation_utterances=1, acoustic_scales=(0.1, 0.2, 0.4), scale_models=2)
    both = decoding.model_copy(update={"general_words": (0, 900)})
    rates = {0.1: [0.5, 0.1], 0.2: [0.2, 0.3], 0.4: [0.1, 0.6]}
    choose = lambda decoding, runner: experiment.choose_decoder(smoke, decoding, runner)  # noqa: E731
    assert choose(decoding, Searches({0: rates})) == (0.2, 0)
    assert choose(decoding, Searches({})) is None and choose(both, Searches({0: rates})) is None
    for general, chosen in ((0.1, 900), (0.9, 0)):
        runner = Searches({0: rates, 900: {0.2: [general, 0.3]}})
        assert choose(both, runner) == (0.2, chosen)
        of_scales = [(0, scale, model) for scale in (0.1, 0.2, 0.4) for model in (0, 1)]
        assert runner.requested == [*of_scales, (900, 0.2, 0), (900, 0.2, 1)]
    assert choose(decoding.model_copy(update={"acoustic_scales": (0.3,)}), Searches({})) == (0.3, 0)


def test_language_model_contains_training_words_only(prepared, tmp_path):
    transcripts = prepared.transcripts | {
        id: ("hello", "world") for id in (*prepared.test.ids, *prepared.validation.ids)
    }
    lexicon = {"world": [("W", "ER", "L", "D")]}
    corpus, data = Corpus("toy", (), (), lexicon, "toy"), dataclasses.replace(prepared, transcripts=transcripts)
    task = pipeline.make_task(corpus, data, tmp_path, 2, 3)
    assert set(task.pronunciations) == {"go", "there"} and task.metadata["test"]["unknown_words"] == 6
    assert not {"hello", "world"} & set(task.language_model.read_text().split())
    general = pipeline.make_task(corpus, data, tmp_path, 2, 3, 5000)
    assert {"go", "there", "hello", "world"} <= set(general.pronunciations) and len(general.pronunciations) >= 5000
    assert general.language_model != task.language_model
    assert [of_part["unknown_words"] for of_part in general.metadata.values()] == [0, 0]


def test_utterances_are_taken_from_each_speaker_in_turn(prepared):
    assert pipeline.in_turn(prepared.test, 4).tolist() == [0, 1, 4, 8]
