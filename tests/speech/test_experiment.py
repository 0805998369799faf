"""Sections 4 and 6 from frames to tables: runs, reuse of finished runs, isolation of the test data, findings."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from repro import config
from repro.config_search import FIRST_SEARCH_SEED
from repro.data.speech.corpus import Corpus
from repro.engine.runner import Diverged
from repro.errors import UserError
from repro.report import build, records
from repro.report.speech import analysis, queries, tables
from repro.speech import experiment, search
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.decoding.decoder import Search, costs
from repro.speech.ensemble_targets import Teacher
from repro.speech.features import BANKS, Inputs, pack
from repro.speech.preparation import Prepared
from repro.speech.runner import SpeechRunner
from repro.speech.runs import Arm
from repro.speech.settings import Decoding, SpeechSettings
from repro.speech.training import FrameTrainer, frames_of_fraction
from repro.training.mlp import MemberSpec

USED = 12  # of the model's tied states


def recordings(speakers: str, seed: int, frames: int = 60):
    """Return four utterances of each speaker; the filterbanks encode the state, with noise."""
    generator = torch.Generator().manual_seed(seed)
    utterances = []
    for speaker in speakers:
        for number in range(4):
            states = torch.randint(USED, (frames // 6,), generator=generator).repeat_interleave(6)
            banks = torch.randn(frames, BANKS, generator=generator) + 2 * torch.eye(USED, BANKS)[states]
            utterances.append((f"{speaker}{number}", speaker, banks, states.short()))
    return utterances


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
    monkeypatch.setattr(pipeline, "decode", decode)
    monkeypatch.setattr(pipeline, "validation_rates", lambda task, data, make, searches, threads: VALIDATION_RATES)
    monkeypatch.setattr(pipeline, "decode_stock", lambda task, data, corpus, threads: word_errors(2))

    def make(settings, data=prepared, folder="runs") -> SpeechRunner:
        return runner_for(settings, data, folder, kind=SpeechRunner, corpus=Corpus("toy", (), (), {}, "toy"))

    return make


VALIDATION_RATES = {0.5: 0.4, 1.0: 0.3}


def decode(task, data, make_scores, search, threads):
    scores = list(make_scores(data.test, torch.arange(3)))
    assert all(np.isfinite(utterance).all() and utterance.shape == (60, STATES) for utterance in scores)
    return word_errors(int(np.argmax(scores[0].sum(0)) % 2)) | {"scale": search.acoustic_scale}


def word_errors(errors):
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0, "words": 2}
    return {f"test_{name}": [value] * 3 for name, value in counts.items()} | {"test_speakers": list("klm")}


def test_experiment_trains_reports_and_reuses_finished_runs(smoke, runner_for, tmp_path):
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
    assert claims.loc["speech.baseline_frame_acc", "seeds"] == smoke.ensemble_size
    tables = {path.stem for path in (out / "results" / "speech" / "toy").glob("*.csv")}
    assert tables == {
        "data", "table1", "search", "acoustic_scale", "table5", "hard_schedules", "recovered", "target_precision",
        "ablations",
    }  # fmt: skip
    scales = pd.read_csv(out / "results" / "speech" / "toy" / "acoustic_scale.csv", keep_default_na=False)
    assert scales[["acoustic scale", "WER", "chosen"]].values.tolist() == [[0.5, 40.0, ""], [1.0, 30.0, "yes"]]
    decodings = [record for record in finished if record["arm"] == Arm.DECODE]
    hybrid = [r["metrics"]["scale"] for r in decodings if r["settings"]["system"] is not None]
    assert len(hybrid) > 3 and set(hybrid) == {1.0}, "all systems have the scale that is best on validation"
    ablations = pd.read_csv(out / "results" / "speech" / "toy" / "ablations.csv").set_index("model")
    varied = {name: len(rows) for name, rows in ablations.groupby("varied")}
    assert varied == {"ensemble size": 5, "width": 2, "epochs": 2, "transcripts": 4}
    assert ablations.loc["4 epochs, KD, T = 2", "models"] == smoke.distilled.seeds
    assert "4 epochs at T = 2 keeps" in claims.loc["speech.gain_transferred", "note"]
    assert len(list((out / "figures" / "speech" / "toy").glob("*.png"))) == 4

    again = runner_for(smoke)
    again.train = again.average = again.decode = None  # repeated work would call one of them
    experiment.run(smoke, again, seen.append)
    assert {r["key"] for r in again.finished.values()} == {r["key"] for r in runner.finished.values()}


def test_the_search_chooses_on_validation_and_skips_what_diverges(smoke, runner_for, monkeypatch):
    trained = []
    train_loop = SpeechRunner.train_loop

    def diverge_at_the_highest_rate(runner, training, *arguments, **named):
        trained.append(training.recipe.learning_rate)
        if training.recipe.learning_rate == 0.01:
            raise Diverged("the loss is not finite")
        return train_loop(runner, training, *arguments, **named)

    monkeypatch.setattr(SpeechRunner, "train_loop", diverge_at_the_highest_rate)
    stages = ({"recipe.learning_rate": (0.001, 0.01)}, {"distilled.recipe.epochs": (2,)})
    smoke = smoke.model_copy(update={"search": smoke.search.model_copy(update={"stages": stages})})
    runner = runner_for(smoke)
    chosen = search.choose(smoke, runner)
    judged = [record for record in runner.finished.values() if record["arm"] == Arm.SEARCH]
    assert {record["seed"] for record in judged} == {FIRST_SEARCH_SEED} and len(judged) == 5
    assert [record["params"]["recipe.learning_rate"] for record in judged if "diverged" in record["metrics"]] == [0.01]
    for stage, name, value in [
        (1, "recipe.learning_rate", chosen.recipe.learning_rate),
        (2, "distilled.recipe.epochs", chosen.distilled.recipe.epochs),
    ]:
        right = {record["params"][name]: record["metrics"]["validation_right"] for record in judged
                 if record["params"]["stage"] == stage and "diverged" not in record["metrics"]}  # fmt: skip
        assert right[value] == max(right.values())
    teachers = {record["settings"]["recipe"]["learning_rate"] for record in runner.finished.values()
                if record["arm"] == Arm.SINGLE_MODEL}  # fmt: skip
    assert teachers == {chosen.recipe.learning_rate} and chosen.search is None
    count, again = len(trained), runner_for(smoke)
    again.report_only = True
    assert search.choose(smoke, again) == chosen and len(trained) == count
    assert search.choose(smoke.model_copy(update={"search": None}), again).search is None
    stages = ({"recipe.learning_rate": (0.01,)},)
    hot = {"recipe": smoke.recipe.model_copy(update={"learning_rate": 0.01}),
           "search": smoke.search.model_copy(update={"stages": stages})}  # fmt: skip
    with pytest.raises(UserError, match="every candidate of stage 1 diverged"):
        search.choose(smoke.model_copy(update=hot), runner_for(smoke.model_copy(update=hot)))


def test_arms_without_all_seeds_are_not_reported(smoke, runner_for):
    runner = runner_for(smoke)
    runner.execute(experiment.ensemble_nets(smoke))
    runner.execute(experiment.distilled_nets(smoke)[:1])
    complete = records.complete(list(runner.finished.values()))
    assert {record["arm"] for record in complete} == {Arm.SINGLE_MODEL}
    runner.report_only = True
    assert experiment.best_temperature(smoke, runner) is None


def test_trainers_receive_the_settings_of_their_runs(smoke, runner_for, prepared, monkeypatch):
    runner, seen = runner_for(smoke), []
    runner.execute(experiment.ensemble_nets(smoke))
    monkeypatch.setattr("repro.speech.runner.FrameTrainer", lambda **a: seen.append(a) or FrameTrainer(**a))
    for job in runner.jobs([*experiment.distilled_nets(smoke), *experiment.data_fraction_nets(smoke, 2.0)]):
        (group,) = job.arguments
        runner.train(group)
        arguments = seen[-1]
        frames, cases, teacher, context = (arguments[name] for name in ("frames", "cases", "teacher", "context"))
        assert arguments["members"] == [MemberSpec(net.seed, net.temperature, net.hard_label_weight) for net in group]
        assert frames is prepared.train
        assert torch.equal(cases, runner.cases(group[0].fraction, group[0].data_seed))
        assert (arguments["hidden"], arguments["order"]) == (group[0].hidden_units, group[0].data_seed)
        assert context.recipe == group[0].recipe
        assert (context.validation is not None) == group[0].early_stopping
        assert context.validation is None or context.validation.frames is prepared.validation
        assert (teacher is None) == (group[0].teacher is None)
        if teacher is not None:
            assert list(teacher.means) == [net.teacher.mean for net in group]
            assert len(teacher.ensemble) == len(group[0].teacher.nets)
    assert {arguments["context"].validation is None for arguments in seen} == {True, False}


def test_soft_targets_are_cached_where_the_profile_allows_the_memory(smoke, runner_for, monkeypatch):
    runner = runner_for(smoke)
    runner.execute(experiment.ensemble_nets(smoke))
    arithmetic = [experiment.arithmetic_mean_student(smoke, 2.0)]
    monkeypatch.setattr(Teacher, "can_cache", lambda self, cases: False)
    for nets, is_cached in ((experiment.distilled_nets(smoke), True), (arithmetic, False)):
        teacher = runner._teacher(nets, runner.cases(1.0, 0))
        assert (teacher.cached_logits is not None) == is_cached


def test_training_and_choice_of_temperature_do_not_use_test_frames(smoke, runner_for, prepared):
    other = dataclasses.replace(prepared, test=pack(recordings("klm", 9)))
    weights, temperatures = [], []
    for folder, data in (("one", prepared), ("two", other)):
        runner = runner_for(smoke, data, folder)
        runner.execute([*experiment.ensemble_nets(smoke), *experiment.distilled_nets(smoke)])
        temperatures.append(experiment.best_temperature(smoke, runner))
        weights.append([runner.load_tensors(net) for net in experiment.distilled_nets(smoke)])
    assert temperatures[0] == temperatures[1]
    for first, second in zip(*weights, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_fractions_are_whole_utterances_drawn_for_each_seed(prepared):
    samples = [frames_of_fraction(prepared.train, 0.25, seed) for seed in (1, 2)]
    for cases in samples:
        chosen = prepared.train.utterance[cases].unique()
        assert len(chosen) == 8 and torch.equal(cases, prepared.train.of_utterances(chosen))
    assert not torch.equal(*samples)
    assert torch.equal(frames_of_fraction(prepared.train, 1.0, 0), torch.arange(len(prepared.train)))


def test_hard_and_soft_targets_on_a_fraction_differ_in_targets_only(smoke):
    *shorter, hard, soft = experiment.fraction_nets(smoke, smoke.data_fractions[0], 2.0, 1)
    alike = ("hidden_units", "recipe", "seed", "fraction", "data_seed", "num_evals", "early_stopping")
    assert all(getattr(hard, name) == getattr(soft, name) for name in alike)
    assert (
        hard.teacher is None and hard.hard_label_weight == 1 and soft.hard_label_weight == 0 and soft.temperature == 2
    )
    assert [net.recipe.epochs for net in shorter] == [*smoke.data_fractions[0].hard_epochs] == [2.0]
    assert all(dataclasses.replace(net, recipe=hard.recipe) == hard for net in shorter), (
        "they differ in their length only"
    )


def test_students_have_other_initial_weights_than_teachers(smoke):
    teachers = {net.seed for net in experiment.ensemble_nets(smoke)}
    assert teachers.isdisjoint(net.seed for net in experiment.distilled_nets(smoke))


def test_further_students_at_the_best_temperature_are_decoded_but_do_not_choose_it(smoke, runner_for):
    first = experiment.distilled_nets(smoke)
    (further,) = experiment.further_students(smoke, 2.0)
    assert further.temperature == 2.0 and further.seed not in {net.seed for net in first}
    decoded = [run.system for run in experiment.decodings(smoke, 1, 2.0, (0.4, 0)) if run.temperature]
    assert sorted((net.temperature, net.seed) for net in decoded) == [(1.0, 3), (2.0, 3), (2.0, 4), (2.0, 5)]

    def trained(temperature, seed, right):
        return {"arm": Arm.DISTILLED, "params": {}, "seed": seed, "settings": {"temperature": temperature},
                "metrics": {"validation_right": right, "validation_cases": 100}}  # fmt: skip

    runs = [trained(1.0, 3, 50), trained(2.0, 3, 51)]
    assert queries.best_temperature([*runs, trained(2.0, 4, 10)]) == 2.0, "seed 4 is missing at the other temperature"
    assert len(queries.distilled([*runs, trained(2.0, 4, 10)])) == 2


def test_fewer_students_at_the_best_temperature_than_at_others_are_refused(smoke):
    few = smoke.model_dump() | {"distilled": smoke.distilled.model_dump() | {"best_temperature_seeds": 1}}
    with pytest.raises(UserError, match="best_temperature_seeds must be at least seeds"):
        config.validate(SpeechSettings, few)


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

    def decode(task, scores, search, threads):
        part = next(iter(scores))
        calls.append((part, search.acoustic_scale))
        return [["go", "there"] if search.acoustic_scale == 0.5 else ["no"]] * (2 if part == "validation" else 3)

    names = {id(prepared.validation): "validation", id(prepared.test): "test"}
    monkeypatch.setattr(pipeline, "_decode", decode)
    searches = {scale: Search(acoustic_scale=scale) for scale in (0.3, 0.5)}
    make_scores = lambda frames, _: iter([names[id(frames)]])  # noqa: E731
    assert pipeline.validation_rates(task, prepared, make_scores, searches, 1) == {0.3: 1.0, 0.5: 0.0}
    assert calls == [("validation", 0.3), ("validation", 0.5)]
    metrics = pipeline.decode(task, prepared, make_scores, searches[0.3], 1)
    assert calls[2:] == [("test", 0.3)] and metrics["scale"] == 0.3
    assert sum(metrics["test_substitutions"]) + sum(metrics["test_deletions"]) == 6


class Searches:
    """A runner whose records give the rates by number of general words, none for an unknown number."""

    def __init__(self, rates):
        self.rates, self.requested = rates, []

    def execute(self, runs):
        self.requested += [(run.general_words, run.scales) for run in runs]
        known = [run for run in runs if run.general_words in self.rates]
        return [{"metrics": {"rates": self.rates[run.general_words]}, "settings": {"general_words": run.general_words}}
                for run in known]  # fmt: skip


def test_scale_then_vocabulary_are_chosen_by_the_mean_over_the_models(smoke):
    decoding = Decoding(utterances=1, validation_utterances=1, acoustic_scales=(0.1, 0.2, 0.4), scale_models=2)
    both = decoding.model_copy(update={"general_words": (0, 900)})
    rates = [[0.1, [0.5, 0.1]], [0.2, [0.2, 0.3]], [0.4, [0.1, 0.6]]]
    choose = lambda decoding, runner: experiment.choose_decoder(smoke, decoding, runner)  # noqa: E731
    assert choose(decoding, Searches({0: rates})) == (0.2, 0)
    assert choose(decoding, Searches({})) is None and choose(both, Searches({0: rates})) is None
    for general, chosen in ((0.1, 900), (0.9, 0)):
        runner = Searches({0: rates, 900: [[0.2, [general, 0.3]]]})
        assert choose(both, runner) == (0.2, chosen)
        assert runner.requested == [(0, (0.1, 0.2, 0.4)), (900, (0.2,))]
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


def test_findings_on_few_data_and_word_errors_match_a_computation_by_hand():
    def frames(right, part=""):
        return {f"{part}test_speaker_right": right, f"{part}test_right": sum(right), f"{part}test_cases": 200,
                f"{part}train_right": 1, f"{part}train_cases": 2}  # fmt: skip

    def record(arm, seed, metrics, curve=(), params=(), **settings):
        settings = {"fraction": 0.03, "temperature": 2.0, "num_teachers": 10, "recipe": {"epochs": 30.0}} | settings
        whole = {"test_speaker_cases": [100, 100], "validation_right": 1, "validation_cases": 2} | metrics
        return {
            "arm": arm,
            "params": dict(params),
            "seed": seed,
            "metrics": whole,
            "curve": curve,
            "settings": settings,
        }

    def decoded(system, seed, *errors):
        each = {"test_substitutions": errors, "test_deletions": [0, 1, 0], "test_insertions": [0, 0, 0]}
        metrics = each | {"test_words": [10, 10, 10], "test_speakers": ["a", "b", "c"]}
        return record(Arm.DECODE, seed, metrics, params={"system": system})

    hard = frames([25, 25]) | frames([20, 20], "stopped_") | {"stopped_epoch": 3.004}
    hard |= {"stopped_validation_right": 1, "stopped_validation_cases": 2}
    curve = [[1, 0, 0, 30.0], [2, 0, 0, 33.0], [3, 0, 0, 28.0]]
    runs = [record(Arm.SINGLE_MODEL, seed, frames([60, 60]) | {"test_speaker_cases": [100, 100]}) for seed in (0, 1)]
    runs += [record(Arm.ENSEMBLE, 0, frames([70, 70]) | {"nets": 2}, mean="arithmetic")]
    runs += [record(Arm.DATA_FRACTION, seed, hard, curve, {"targets": "hard"}) for seed in (2, 3)]
    soft = frames([50, 50]) | {"stopped_validation_right": 1, "stopped_validation_cases": 2}
    runs += [record(Arm.DATA_FRACTION, seed, soft, curve[:2], {"targets": "soft"}) for seed in (2, 3)]
    runs += [decoded("single", seed, 6, 6, 6) for seed in (0, 1)] + [decoded("ensemble", 0, 3, 2, 4)]
    by_claim = {finding.claim: finding for finding in analysis.findings(runs)}
    recovered = by_claim["speech.soft3_recovered"]
    assert recovered.ours.value == pytest.approx((50 - 20) / (60 - 20)) and recovered.direction == "holds"
    assert recovered.run == pytest.approx((0.75, 0.75)), "all models and speakers are alike"
    assert "stopped after 3, 3 of 30 epochs" in recovered.note
    assert by_claim["speech.soft3_no_overfit"].ours.value == pytest.approx(5.0)
    words = by_claim["speech.ensemble_wer"]
    assert words.ours.value == pytest.approx(100 * 10 / 30) and words.direction == "holds"
    assert f"minus single models: {100 * (10 - 19) / 30:+.2f}" in words.note
    assert words.effect.value == pytest.approx(10.9 * (10 - 19) / 19), "relative to single models, at the paper's rate"
    equal = {finding.claim: finding for finding in analysis.findings([*runs[:-1], decoded("ensemble", 0, 5, 8, 5)])}
    assert equal["speech.ensemble_wer"].direction == "undecided", "few utterances cannot tell the paper's 2% from none"


def test_hard_targets_are_reported_with_the_schedule_that_is_best_on_validation():
    def trained(epochs, validation, test, seed=0, targets="hard"):
        metrics = {"stopped_validation_right": validation, "stopped_validation_cases": 100, "seed": seed}
        metrics |= {"stopped_test_right": test, "stopped_test_cases": 100, "stopped_epoch": epochs / 2}
        settings = {"fraction": 0.03, "recipe": {"epochs": epochs}}
        return {"arm": Arm.DATA_FRACTION, "params": {"targets": targets}, "seed": seed, "metrics": metrics,
                "settings": settings}  # fmt: skip

    runs = [trained(*of) for of in ((30.0, 20, 90), (4.0, 30, 10), (2.0, 25, 20))]
    assert queries.on_fraction(runs, "hard", 0.03) == runs[1:2]
    assert queries.longest_schedule(runs, "hard", 0.03) == runs[:1]
    table = tables.hard_schedules(runs)
    assert list(table["epochs of the schedule"]) == ["2", "4 (chosen on validation)", "30"]
    assert list(table["test"]) == ["20.00 –", "10.00 –", "90.00 –"]
    more = [*runs, trained(30.0, 10, 10, seed=1), trained(2.0, 26, 20, seed=1)]
    assert list(queries.schedules(more, "hard", 0.03)) == [2.0, 30.0], "the length of 4 has no second seed yet"
    assert queries.on_fraction(runs, "soft", 0.03) == [] and tables.hard_schedules(runs[:1]).empty


def test_gain_transferred_matches_a_computation_by_hand():
    def record(arm, right, **settings):
        metrics = {"test_speaker_right": right, "test_speaker_cases": [100, 100], "test_right": sum(right),
                   "test_cases": 200, "validation_right": sum(right), "validation_cases": 200, "nets": 2,
                   "validation_speaker_right": right, "validation_speaker_cases": [100, 100]}  # fmt: skip
        return {"arm": arm, "params": {}, "seed": 0, "metrics": metrics, "settings": {"mean": "arithmetic", **settings}}

    base = [record(Arm.SINGLE_MODEL, [40, 60]), record(Arm.ENSEMBLE, [50, 70])]
    right = {1.0: [44, 64], 2.0: [48, 68], 5.0: [45, 65]}
    students = [record(Arm.DISTILLED, each, temperature=t) for t, each in right.items()]
    by_claim = {finding.claim: finding for finding in analysis.findings(base + students)}
    assert by_claim["speech.gain_transferred"].ours.value == pytest.approx(0.8)
    assert by_claim["speech.ensemble_frame_acc"].direction == "holds"
    best = by_claim["speech.best_temperature"]
    assert best.ours.value == 2.0 and best.direction == "holds"
    without = {finding.claim for finding in analysis.findings(base + students[:2])}
    assert "speech.gain_transferred" in without and "speech.best_temperature" not in without
