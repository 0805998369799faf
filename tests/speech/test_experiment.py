"""Sections 4 and 6 from frames to tables: runs, reuse of finished runs, isolation of the test data."""

import dataclasses

import pandas as pd
import pytest
import torch
from toy_corpus import recordings

from repro import config
from repro.config_search import FIRST_SEARCH_SEED
from repro.engine.runner import Diverged
from repro.errors import UserError
from repro.report import build, records
from repro.report.speech import queries
from repro.speech import experiment, search
from repro.speech import runner as speech_runner
from repro.speech.alignment import STATES
from repro.speech.features import pack
from repro.speech.runner import JOB_BYTES, SpeechRunner
from repro.speech.runs import Arm
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTrainer, frames_of_fraction, make_net
from repro.training.compute import Compute
from repro.training.mlp import MemberSpec


def test_experiment_trains_reports_and_reuses_finished_runs(smoke, runner_for, tmp_path):
    runner = runner_for(smoke)
    seen = []
    experiment.run(smoke, runner, seen.append)
    assert len(seen) == 2
    display = runner.progress
    assert display._done == pytest.approx(display._total, rel=1e-6), "the ETA counts all work"
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
    assert varied == {"ensemble size": 5, "width": 2, "transcripts": 4}
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


def test_a_diverging_candidate_does_not_end_those_trained_with_it(smoke, runner_for, monkeypatch):
    train_loop = SpeechRunner.train_loop

    def diverge(runner, training, *arguments, **named):
        if 0.125 in training.hard_label_weight:
            raise Diverged("the loss is not finite")
        return train_loop(runner, training, *arguments, **named)

    monkeypatch.setattr(SpeechRunner, "train_loop", diverge)
    stages = ({"distilled.hard_label_weight": (0.125, 0.25)},)
    runner = runner_for(smoke.model_copy(update={"search": smoke.search.model_copy(update={"stages": stages})}))
    assert search.choose(runner.settings, runner).distilled.hard_label_weight != 0.125
    judged = [record for record in runner.finished.values() if record["arm"] == Arm.SEARCH]
    diverged = {record["params"]["distilled.hard_label_weight"]: "diverged" in record["metrics"] for record in judged}
    assert diverged == {0.125: True, 0.25: False, 0.5: False}


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
    smoke = smoke.model_copy(update={"recipe": smoke.recipe.model_copy(update={"epochs": 0.1})})
    runner = runner_for(smoke)
    runner.compute = Compute(torch.device("cpu"), "bf16")
    runner.execute(experiment.ensemble_nets(smoke))
    arithmetic, cases = [experiment.arithmetic_mean_student(smoke, 2.0)], runner.cases(1.0, 0)
    fits, students = 2e-9 * STATES * len(cases), experiment.distilled_nets(smoke)
    for nets, limit, is_cached in ((students, fits, True), (students, 0.99 * fits, False), (arithmetic, fits, False)):
        runner.settings = smoke.model_copy(update={"soft_target_cache_gb": limit})
        assert (runner._teacher(nets, cases).cached_logits is not None) == is_cached
    runner.settings, (job,) = smoke, runner.jobs(students)
    assert job.memory_bytes == JOB_BYTES + 2 * STATES * len(cases)
    monkeypatch.setattr(speech_runner, "memory_bytes", lambda: job.memory_bytes - 1)
    assert runner.jobs(students)[0].memory_bytes == JOB_BYTES, "the machine lacks the memory"
    monkeypatch.undo()
    runner.compute = Compute(torch.device("cpu"), "fp32")
    assert runner.jobs(students)[0].memory_bytes == JOB_BYTES + 4 * STATES * len(cases)


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


def test_the_temperature_is_chosen_on_validation(smoke, runner_for, monkeypatch):
    runner, right = runner_for(smoke), {1.0: (9, 1), 2.0: (1, 9)}
    monkeypatch.setattr(runner, "is_finished", lambda run: True)

    def execute(runs):
        counts = [right[run.temperature] for run in runs]
        return [{"metrics": {"validation_right": ours, "test_right": others}} for ours, others in counts]

    monkeypatch.setattr(runner, "execute", execute)
    assert {net.temperature for net in experiment.distilled_nets(smoke)} == set(right)
    assert experiment.best_temperature(smoke, runner) == 1.0


def test_a_teacher_is_made_of_the_models_that_its_run_names(smoke, runner_for, monkeypatch):
    runner, nets = runner_for(smoke), experiment.ensemble_nets(smoke)
    states = {net: make_net(net.hidden_units, STATES, [50 + net.seed], runner.compute).state_dict() for net in nets}
    monkeypatch.setattr(runner, "load_tensors", states.__getitem__)
    runner.settings = smoke.model_copy(update={"soft_target_cache_gb": 0.0})
    students = [*experiment.distilled_nets(smoke)[:1], *experiment.smaller_ensembles(smoke, 2.0)]
    for student in students:
        teacher = runner._teacher([student], runner.cases(1.0, 0)).ensemble.state_dict()
        for name, value in teacher.items():
            assert torch.equal(value, torch.cat([states[net][name] for net in student.teacher.nets]))
    assert len({len(student.teacher.nets) for student in students}) > 1


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
