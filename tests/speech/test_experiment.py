"""Sections 4 and 6 from frames to table, resuming, and what has no part in training."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from repro import config
from repro.data.speech.corpus import Corpus
from repro.report import build, records
from repro.report.speech import analysis
from repro.speech import experiment
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.features import BANKS, lay_out
from repro.speech.preparation import Prepared
from repro.speech.runner import SpeechRunner
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTrainer, share_of
from repro.training.mlp import MemberSpec

USED = 12  # of the model's tied states


def recordings(speakers: str, seed: int, frames: int = 60):
    """Four utterances of each speaker; the filterbanks show the state, under noise."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for speaker in speakers:
        for number in range(4):
            states = torch.randint(USED, (frames // 6,), generator=draw).repeat_interleave(6)
            banks = torch.randn(frames, BANKS, generator=draw) + 2 * torch.eye(USED, BANKS)[states]
            found.append((f"{speaker}{number}", speaker, banks, states.short()))
    return found


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    train = recordings("abcdefgh", 0)
    held, test = recordings("ij", 1), recordings("klm", 2)
    transcripts = {id: ("go", "there") for id, *_ in (*train, *held, *test)}
    return Prepared("toy", False, lay_out(train), lay_out(held), lay_out(test), "toy", {}, {}, transcripts)


@pytest.fixture(scope="module")
def smoke() -> SpeechSettings:
    changes = ["recipe.epochs=3", "distilled.recipe.epochs=3", "recipe.batch_size=64", "distilled.recipe.batch_size=64"]
    found = config.load(SpeechSettings, config.profile_path("speech", "smoke"), changes)
    return found.model_copy(update={"words": found.words.model_copy(update={"scales": (0.5, 1.0)})})


@pytest.fixture
def runner_for(runner_for, prepared, monkeypatch):
    """Makes a runner; what a decoder would hear is the number of frames that the net has in the most common state."""
    monkeypatch.setattr(pipeline, "decode", heard)
    monkeypatch.setattr(pipeline, "decode_stock", lambda what, data, corpus, threads: counted(data, 2))

    def make(settings, data=prepared, folder="runs") -> SpeechRunner:
        return runner_for(settings, data, folder, kind=SpeechRunner, corpus=Corpus("toy", (), (), {}, "toy"))

    return make


def heard(what, data, make_scores, scales, most_active, threads):
    scores = list(make_scores(data.test, torch.arange(3)))
    assert all(np.isfinite(one).all() and one.shape == (60, STATES) for one in scores)
    return counted(data, int(np.argmax(scores[0].sum(0)) % 2)) | {"scale": scales[0], "validation_wer": {}}


def counted(data, errors):
    one = {"substitutions": errors, "deletions": 0, "insertions": 0, "words": 2}
    return {f"test_{name}": [value] * 3 for name, value in one.items()} | {"test_speakers": list("klm")}


def test_from_frames_to_table(smoke, runner_for, tmp_path):
    runner = runner_for(smoke)
    seen = []
    experiment.run(smoke, runner, seen.append)
    assert len(seen) == 2
    finished = records.complete(list(runner.finished.values()))
    assert len(finished) == len(runner.finished)
    out = tmp_path / "out"
    records.save(out, "speech", "toy", finished)
    build.report(out)
    claims = pd.read_csv(out / "results" / "claims.csv").set_index("claim")
    assert {claim for claim in claims.index if claim.startswith("speech.")} == {
        f"speech.{name}"
        for name in (
            *("baseline_frame_acc", "ensemble_frame_acc", "distilled_frame_acc", "gain_transferred"),
            *("baseline_wer", "ensemble_wer", "distilled_wer"),
            *("full_train_acc", "full_test_acc", "hard3_train_acc", "hard3_test_acc"),
            *("soft3_train_acc", "soft3_test_acc", "soft3_recovered", "soft3_no_overfit"),
        )
    }
    assert claims.loc["speech.baseline_frame_acc", "seeds"] == smoke.ensemble
    tables = {path.stem for path in (out / "results" / "speech" / "toy").glob("*.csv")}
    assert tables == {"data", "table1", "table5", "recovered", "rounding", "studies"}
    studies = pd.read_csv(out / "results" / "speech" / "toy" / "studies.csv").set_index("net")
    varied = {name: len(found) for name, found in studies.groupby("varied")}
    assert varied == {"ensemble": 5, "width": 2, "passes": 2, "transcripts": 4}
    assert studies.loc["4 passes: distilled, T = 2", "nets"] == smoke.distilled.seeds
    assert "T = 2 keeps" in claims.loc["speech.gain_transferred", "note"]
    assert len(list((out / "figures" / "speech" / "toy").glob("*.png"))) == 4

    again = runner_for(smoke)
    again.train = again.average = again.decode = None  # anything that is made again would call one of them
    experiment.run(smoke, again, seen.append)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in runner.finished.values()}


def test_half_of_it_is_reported_as_far_as_every_seed_is_there(smoke, runner_for):
    runner = runner_for(smoke)
    runner.execute(experiment.ensemble_nets(smoke))
    runner.execute(experiment.distilled_nets(smoke)[:1])
    found = records.complete(list(runner.finished.values()))
    assert {record["arm"] for record in found} == {"single net"}
    runner.report_only = True
    assert experiment.best_temperature(smoke, runner) is None


def test_acoustic_models_are_trained_as_their_runs_say(smoke, runner_for, prepared, monkeypatch):
    runner, seen = runner_for(smoke), []
    runner.execute(experiment.ensemble_nets(smoke))
    monkeypatch.setattr("repro.speech.runner.FrameTrainer", lambda **a: seen.append(a) or FrameTrainer(**a))
    for job in runner.jobs([*experiment.distilled_nets(smoke), *experiment.few_data(smoke, 2.0)]):
        (group,) = job.arguments
        runner.train(group)
        arguments = seen[-1]
        frames, cases, taught, context = (arguments[name] for name in ("frames", "cases", "teacher", "context"))
        assert arguments["members"] == [MemberSpec(net.seed, net.temperature, net.hard_label_weight) for net in group]
        assert frames is prepared.train and torch.equal(cases, share_of(prepared.train, group[0].share, group[0].draw))
        assert (arguments["hidden"], arguments["order"]) == (group[0].hidden, group[0].draw)
        assert context.recipe == group[0].recipe
        assert (context.validation is not None) == group[0].early_stopping
        assert context.validation is None or context.validation.frames is prepared.validation
        assert (taught is None) == (group[0].teacher is None)
        if taught is not None:
            assert list(taught.means) == [net.teacher.mean for net in group]
            assert len(taught.ensemble) == len(group[0].teacher.nets)
    assert {arguments["context"].validation is None for arguments in seen} == {True, False}


def test_nothing_that_trains_or_chooses_a_temperature_sees_the_test_frames(smoke, runner_for, prepared):
    other = dataclasses.replace(prepared, test=lay_out(recordings("klm", 9)))
    kept, temperatures = [], []
    for folder, data in (("one", prepared), ("two", other)):
        runner = runner_for(smoke, data, folder)
        runner.execute([*experiment.ensemble_nets(smoke), *experiment.distilled_nets(smoke)])
        temperatures.append(experiment.best_temperature(smoke, runner))
        kept.append([runner.load_tensors(net) for net in experiment.distilled_nets(smoke)])
    assert temperatures[0] == temperatures[1]
    for one, two in zip(*kept, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_shares_are_whole_utterances_and_each_seed_has_its_own(smoke, runner_for, prepared):
    runner = runner_for(smoke)
    draws = [runner.cases(0.25, draw) for draw in (1, 2)]
    for cases in draws:
        chosen = prepared.train.utterance[cases].unique()
        assert len(chosen) == 8 and torch.equal(cases, prepared.train.of_utterances(chosen))
    assert not torch.equal(*draws)
    assert torch.equal(runner.cases(1.0, 0), torch.arange(len(prepared.train)))


def test_hard_and_soft_nets_of_few_data_start_alike_and_see_the_same(smoke):
    hard, soft = experiment.subset_nets(smoke, smoke.subsets.parts[0], 2.0, 1)
    alike = ("hidden", "recipe", "seed", "share", "draw", "num_evals", "early_stopping")
    assert all(getattr(hard, name) == getattr(soft, name) for name in alike)
    assert (
        hard.teacher is None and hard.hard_label_weight == 1 and soft.hard_label_weight == 0 and soft.temperature == 2
    )


def test_no_student_has_a_teachers_initial_weights(smoke):
    teachers = {net.seed for net in experiment.ensemble_nets(smoke)}
    assert teachers.isdisjoint(net.seed for net in experiment.distilled_nets(smoke))


def test_scores_are_the_posterior_less_the_prior(smoke, runner_for, prepared):
    runner = runner_for(smoke)
    nets = experiment.ensemble_nets(smoke)
    runner.execute(nets)
    prior = pipeline.log_prior(prepared.train)
    assert float(prior.exp().sum()) == pytest.approx(1, rel=1e-4)
    net = runner.population(nets)
    found = next(pipeline.scores(net, prepared.test, torch.tensor([2]), prior, runner.compute))
    at = (prepared.test.utterance == 2).nonzero()[:, 0]
    from repro.speech.features import Inputs

    posterior = net(Inputs(prepared.test, runner.compute)[at]).softmax(-1).mean(0).detach()
    np.testing.assert_allclose(found, (posterior.log() - prior).numpy(), atol=1e-4)


def test_the_acoustic_scale_is_chosen_on_validation(prepared, monkeypatch):
    """On validation the second scale hears every word, on test the first does: test has no say."""
    what = pipeline.Task({}, None, torch.arange(3), torch.arange(3), {})
    request_metadata = []

    def hear(what, found, search, threads):
        part = next(iter(found))
        request_metadata.append((part, search.acoustic_scale))
        right = (search.acoustic_scale == 0.5) == (part == "validation")
        return [["go", "there"] if right else ["no"]] * 3

    names = {id(prepared.validation): "validation", id(prepared.test): "test"}
    monkeypatch.setattr(pipeline, "_decode", hear)
    found = pipeline.decode(what, prepared, lambda frames, _: iter([names[id(frames)]]), (0.3, 0.5, 0.8), 500, 1)
    assert found["scale"] == 0.5 and request_metadata == [("validation", s) for s in (0.3, 0.5, 0.8)] + [("test", 0.5)]
    assert sum(found["test_substitutions"]) + sum(found["test_deletions"]) > 0


def test_the_language_model_knows_the_words_of_training_alone(prepared, tmp_path):
    said = prepared.transcripts | {id: ("hello", "world") for id in (*prepared.test.ids, *prepared.validation.ids)}
    lexicon = {"world": [("W", "ER", "L", "D")]}
    corpus, data = Corpus("toy", (), (), lexicon, "toy"), dataclasses.replace(prepared, transcripts=said)
    what = pipeline.task(corpus, data, tmp_path, 2, 3)
    assert set(what.pronunciations) == {"go", "there"} and what.about["unknown_words"] == 6
    assert not {"hello", "world"} & set(what.language_model.read_text().split())


def test_utterances_are_taken_from_each_speaker_in_turn(prepared):
    assert pipeline.in_turn(prepared.test, 4).tolist() == [0, 1, 4, 8]


def test_few_data_and_words_by_hand():
    def frames(right, part=""):
        return {f"{part}test_speaker_right": right, f"{part}test_right": sum(right), f"{part}test_cases": 200,
                f"{part}train_right": 1, f"{part}train_cases": 2}  # fmt: skip

    def record(arm, seed, metrics, curve=(), **settings):
        settings = {"share": 0.03, "temperature": 2.0, "teachers": 10, "recipe": {"epochs": 30.0}} | settings
        whole = {"test_speaker_cases": [100, 100], "validation_right": 1, "validation_cases": 2} | metrics
        return {"arm": arm, "seed": seed, "metrics": whole, "curve": curve, "settings": settings}

    def heard(arm, seed, *errors):
        each = {"test_substitutions": errors, "test_deletions": [0, 1, 0], "test_insertions": [0, 0, 0]}
        return record(f"words: {arm}", seed, each | {"test_words": [10, 10, 10], "test_speakers": ["a", "b", "c"]})

    hard = frames([25, 25]) | frames([20, 20], "stopped_") | {"stopped_epoch": 3.004}
    num_evals = [[1, 0, 0, 30.0], [2, 0, 0, 33.0], [3, 0, 0, 28.0]]
    found = [record("single net", seed, frames([60, 60]) | {"test_speaker_cases": [100, 100]}) for seed in (0, 1)]
    found += [record("ensemble", 0, frames([70, 70]) | {"nets": 2}, mean="arithmetic")]
    found += [record("few data, hard targets", seed, hard, num_evals) for seed in (2, 3)]
    found += [record("few data, soft targets", seed, frames([50, 50]), num_evals[:2]) for seed in (2, 3)]
    found += [heard("single net", seed, 6, 6, 6) for seed in (0, 1)] + [heard("ensemble", 0, 3, 2, 4)]
    by_claim = {finding.claim: finding for finding in analysis.findings(found)}
    recovered = by_claim["speech.soft3_recovered"]
    assert recovered.ours.value == pytest.approx((50 - 20) / (60 - 20)) and recovered.direction_holds
    assert "stopped after 3, 3 of 30 passes" in recovered.note
    assert by_claim["speech.soft3_no_overfit"].ours.value == pytest.approx(5.0)
    words = by_claim["speech.ensemble_wer"]
    assert words.ours.value == pytest.approx(100 * 10 / 30) and words.direction_holds
    assert f"minus single nets: {100 * (10 - 19) / 30:+.2f}" in words.note
    even = {finding.claim: finding for finding in analysis.findings([*found[:-1], heard("ensemble", 0, 5, 8, 5)])}
    assert not even["speech.ensemble_wer"].direction_holds, "a difference of nothing is not lower"


def test_share_transferred_by_hand():
    def record(arm, right, **settings):
        metrics = {"test_speaker_right": right, "test_speaker_cases": [100, 100], "test_right": sum(right),
                   "test_cases": 200, "validation_right": sum(right), "validation_cases": 200, "nets": 2,
                   "validation_speaker_right": right, "validation_speaker_cases": [100, 100]}  # fmt: skip
        return {"arm": arm, "seed": 0, "metrics": metrics, "settings": {"mean": "arithmetic", **settings}}

    base = [record("single net", [40, 60]), record("ensemble", [50, 70])]
    right = {1.0: [44, 64], 2.0: [48, 68], 5.0: [45, 65]}
    students = [record("distilled", each, temperature=t) for t, each in right.items()]
    by_claim = {finding.claim: finding for finding in analysis.findings(base + students)}
    assert by_claim["speech.gain_transferred"].ours.value == pytest.approx(0.8)
    assert by_claim["speech.ensemble_frame_acc"].direction_holds
    best = by_claim["speech.best_temperature"]
    assert best.ours.value == 2.0 and best.direction_holds
    without = {finding.claim for finding in analysis.findings(base + students[:2])}
    assert "speech.gain_transferred" in without and "speech.best_temperature" not in without
