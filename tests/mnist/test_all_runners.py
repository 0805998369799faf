"""Runners hand to training what their runs say, and records describe the stored models."""

import dataclasses

import pytest
import torch
from conftest import make_runner, striped

from repro import config
from repro.evaluation import metrics
from repro.kd.losses import distillation_loss
from repro.mnist import experiment
from repro.mnist.settings import ChoiceSettings, MnistSettings
from repro.specialists import evaluate, inference, specialist
from repro.specialists import experiment as specialists
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.runs import CombinedRun, NetRun, Variation
from repro.specialists.settings import SpecialistsSettings
from repro.training.mlp import MemberSpec, MLPTrainer, TransferSet
from repro.training.trainer import TrainerContext
from repro.variants import experiment as variants
from repro.variants.runner import VariantsRunner
from repro.variants.runs import teacher_run
from repro.variants.settings import VariantsSettings


def test_soft_targets_on_translated_images_are_those_of_the_images_that_a_step_draws(toy, tmp_path):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke")).model_copy(
        update={"max_train_examples": 1200}
    )
    runner = make_runner(tmp_path / "runs", settings, toy)
    teacher, *_, averaged, translated = [
        experiment.teacher_run(settings, 0), *experiment.ablation_runs(settings, 0)
    ]  # fmt: skip
    runner.execute([teacher])
    net, images = runner.weights_of(teacher), toy.train.images
    on_translations = runner.soft_targets(teacher, "translations")
    down = torch.nn.functional.pad(images.view(-1, 28, 28), (0, 0, 2, 0))[:, :28].flatten(1)  # two rows of zeros above
    torch.testing.assert_close(on_translations[:, 0, 2], net.logits(down)[0])
    torch.testing.assert_close(on_translations[:, 2, 2], net.logits(images)[0])
    torch.testing.assert_close(
        runner.soft_targets(teacher, "mean of translations"), on_translations.flatten(1, 2).mean(1)
    )
    context = TrainerContext(recipe=translated.recipe, compute=runner.compute)
    transfer = TransferSet(images, toy.train.labels, on_translations)
    training = MLPTrainer(
        sizes=translated.sizes, members=[MemberSpec(0, 20.0, 0.5)], transfer=transfer, context=context
    )
    seen, _, soft = training.batch(3)
    torch.testing.assert_close(soft[0], net.logits(seen[0])[0])
    assert translated.targets == "translations" and averaged.targets == "mean of translations"
    assert translated.recipe.max_translation == 2 and averaged.recipe == settings.distilled.recipe
    (record,) = runner.execute([averaged])
    moved = toy.test.images.view(-1, 28, 28)
    wrong, agreed = [], []
    for rows, columns in [(r, c) for r in (-2, 0, 2) for c in (-2, 0, 2) if (r, c) != (0, 0)]:
        padded = torch.nn.functional.pad(moved, (2, 2, 2, 2))[:, 2 + rows : 30 + rows, 2 + columns : 30 + columns]
        predicted = runner.weights_of(averaged).logits(padded.flatten(1))[0].argmax(-1)
        wrong.append(int((predicted != toy.test.labels).sum()))
        agreed.append((predicted == net.logits(padded.flatten(1))[0].argmax(-1)).double().mean().item())
    assert record["metrics"]["translated_errors"] == pytest.approx(sum(wrong) / 8)
    assert record["metrics"]["translated_agreement"] == pytest.approx(sum(agreed) / 8)
    with pytest.raises(ValueError, match="need a recipe that translates"):
        context = TrainerContext(recipe=averaged.recipe, compute=runner.compute)
        MLPTrainer(sizes=averaged.sizes, members=[MemberSpec(0, 2.0, 0.5)], transfer=transfer, context=context)


def test_a_student_of_several_teachers_learns_from_the_mean_of_their_logits(toy, tmp_path, monkeypatch):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke")).model_copy(
        update={"max_train_examples": 1200}
    )
    runner = make_runner(tmp_path / "runs", settings, toy)
    teachers = [experiment.teacher_run(settings, seed) for seed in (1, 0)]
    (student,) = [run for run in experiment.ablation_runs(settings, 1) if run.arm == "of_several_teachers"]
    assert list(student.teachers) == teachers
    runner.execute(teachers)
    mean = sum(runner.weights_of(teacher).logits(toy.train.images)[0] for teacher in teachers) / 2
    given = []
    run = MLPTrainer.run
    monkeypatch.setattr(MLPTrainer, "run", lambda self, *rest: given.append(self.teacher) or run(self, *rest))
    (record,) = runner.execute([student])
    torch.testing.assert_close(given[0], mean)
    on_test = sum(runner.weights_of(teacher).logits(toy.test.images)[0] for teacher in teachers) / 2
    measured, logits = record["metrics"], runner.weights_of(student).logits(toy.test.images)[0]
    assert measured["teacher_errors"] == int((on_test.argmax(-1) != toy.test.labels).sum())
    assert measured["agreement"] == pytest.approx(float((on_test.argmax(-1) == logits.argmax(-1)).float().mean()))


@pytest.mark.parametrize(("seeds", "size", "teachers"), [(1, 5, []), (3, 5, [3] * 3), (4, 2, [2] * 4), (4, None, [])])
def test_no_more_teachers_than_seeds(seeds, size, teachers):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke"))
    changed = settings.model_copy(
        update={"seeds": seeds, "ablations": settings.ablations.model_copy(update={"ensemble_size": size})}
    )
    runs = [run for seed in range(seeds) for run in experiment.ablation_runs(changed, seed)]
    assert [len(set(run.teachers)) for run in runs if run.arm == "of_several_teachers"] == teachers


def test_students_on_mnist_learn_what_their_runs_say_and_are_measured_as_they_end(toy, tmp_path):
    settings = config.load(MnistSettings, config.profile_path("mnist", "smoke")).model_copy(
        update={"max_train_examples": 1200}
    )
    runner = make_runner(tmp_path / "runs", settings, toy)
    master, baseline, *students = experiment.headline_runs(settings, 0)
    runner.execute([master])
    teacher_model = runner.weights_of(master)
    soft, soft_on_test = teacher_model.logits(toy.train.images)[0], teacher_model.logits(toy.test.images)[0]
    agreed = []
    for run in (baseline, *students, *experiment.missing_class_runs(settings, 0)[:2]):
        arm_settings = settings.without_3 if run.arm.startswith("without_3") else settings.distilled
        hard = {baseline.arm: 1.0, "distilled_soft_only": 0.0}.get(run.arm, arm_settings.hard_label_weight)
        cases = torch.arange(1000 if run.split == "train" else 1200)
        if run.arm.startswith("without_3"):
            cases = cases[toy.train.labels[cases] != 3]
        transfer, member = (
            TransferSet(toy.train.images, toy.train.labels, soft),
            MemberSpec(0, arm_settings.temperature, hard, cases),
        )
        context = TrainerContext(recipe=run.recipe, compute=runner.compute)
        by_hand = MLPTrainer(sizes=run.sizes, members=[member], transfer=transfer, context=context)
        for _ in by_hand.run():
            pass
        (record,) = runner.execute([run])
        net = runner.weights_of(run)
        for ours, theirs in zip(by_hand.net.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        outputs, measured = net.logits(toy.test.images)[0], record["metrics"]
        wrong = outputs.argmax(-1) != toy.test.labels
        assert measured["test_errors"] == int(wrong.sum())
        assert metrics.unpack(measured["test_wrong"], len(wrong)).tolist() == wrong.tolist()
        if run is not baseline:
            agreed.append(float((outputs.argmax(-1) == soft_on_test.argmax(-1)).double().mean()))
            assert measured["agreement"] == pytest.approx(agreed[-1])
    assert min(agreed) < 1


@pytest.mark.parametrize("profile", ["choice", "gpu_choice"])
def test_recipes_for_mnist_are_chosen_without_the_validation_cases(profile):
    runs = experiment.search_runs(config.load(ChoiceSettings, config.profile_path("mnist", profile)))
    assert {run.split for run in runs} | {run.teacher.split for run in runs if run.teacher} == {"train"}


@pytest.fixture(scope="module")
def icons(tmp_path_factory):
    """Specialists on stand-in images, their generalist trained: settings, runner, generalist, specialists."""
    changes = ["specialists.classes_per_specialist=5", "ablations.subset_sizes=[4]", "max_train_examples=800"]
    settings = config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)
    runner = make_runner(tmp_path_factory.mktemp("icons") / "runs", settings, striped(), SpecialistsRunner)
    generalist = specialists.generalist_run(settings, 0)
    runner.execute([generalist])
    ones = specialists.specialist_runs(settings, runner, generalist)
    runner.execute(ones)
    return settings, runner, generalist, ones


def test_nets_distilled_back_start_as_the_generalist_and_learn_from_their_teacher(icons):
    settings, runner, generalist, ones = icons
    back = settings.redistill
    everyone = CombinedRun("with_specialists", generalist, tuple(ones), settings.specialists.top_n)
    for teacher_model in (generalist, everyone):
        run = NetRun("redistilled", settings.generalist.channels, back.recipe, 0, teacher_model, 2.0, 0.3, generalist)
        training = runner.training(run)
        start = runner.net_of(generalist).state_dict()
        assert all(torch.equal(start[name], value) for name, value in training.net.state_dict().items())
        outputs = runner.predictions(teacher_model, "train")[training.batch_indices(0)]
        images, labels, _ = training.batch(0)
        item = torch.ones(1)
        expected = distillation_loss(training.net(images), outputs, labels, 2.0 * item, 0.3 * item)
        torch.testing.assert_close(training.losses(0), expected, rtol=1e-4, atol=1e-5)


def test_specialists_of_a_full_softmax_are_regularised_by_the_generalist(icons):
    settings, runner, generalist, _ = icons
    kind = "full softmax, soft targets"
    run = specialists.specialist_runs(settings, runner, generalist, 1, Variation(kind=kind))[0]
    training = runner.training(run)
    start = specialist.from_generalist(runner.net_of(generalist), torch.tensor(run.subset), kind).state_dict()
    assert all(torch.equal(start[name], value) for name, value in training.net.state_dict().items())
    outputs, (images, labels, _) = runner.predictions(generalist, "train")[training.batch_indices(0)], training.batch(0)
    special, arm_settings = torch.isin(torch.arange(20), torch.tensor(run.subset)), settings.soft_targets
    expected = specialist.soft_regularized_loss(
        training.net(images), outputs, labels, special, arm_settings.temperature, arm_settings.hard_label_weight
    )
    torch.testing.assert_close(training.losses(0), expected, rtol=1e-4, atol=1e-5)


def test_each_specialist_is_asked_about_its_own_images_and_its_oversampling_is_undone(icons):
    _, runner, generalist, ones = icons
    data, subsets = runner.data, torch.tensor([item.subset for item in ones])
    run = CombinedRun("with_specialists", generalist, tuple(ones), 2)
    before, after, _ = runner.combine(run, data.test)
    place, which = inference.active_pairs(before, subsets, 2)

    def by_hand(item):  # 5 of 20 equal classes are half of a batch: the odds of the others are three times too low
        outputs = runner.net_of(item).logits(data.test.images)[0].softmax(-1) * torch.tensor([1.0] * 5 + [3.0])
        return outputs / outputs.sum(-1, keepdim=True)

    outputs = torch.stack([by_hand(item) for item in ones])[which, place]
    torch.testing.assert_close(after, inference.combine_em(before, outputs, (place, which), subsets), rtol=0, atol=1e-4)

    measured = evaluate.combined(run, lambda cases: runner.combine(run, cases), data)
    covered = metrics.unpack_counts(measured["test_covering"]).tolist()
    for name, outputs in (("_before", before), ("", after)):
        assert measured[f"test_errors{name}"] == int((outputs.argmax(-1) != data.test.labels).sum())
        counted = metrics.unpack_counts(measured[f"test_conditional{name}"]).tolist()
        for case, label in enumerate(data.test.labels.tolist()):
            covering = [list(item.subset) for item in ones if label in item.subset]
            right = [subset for subset in covering if max(subset, key=lambda c: float(outputs[case, c])) == label]
            assert counted[case] == len(right)
            assert covered[case] == len(covering)


def test_oversampling_is_undone_where_it_belongs():
    draw = torch.Generator().manual_seed(0)
    dustbin, full = torch.randn(4, 4, generator=draw), torch.randn(4, 9, generator=draw)
    subset = torch.tensor([1, 4, 7])
    outputs = dustbin.softmax(-1) * torch.tensor([1, 1, 1, 49.0])  # half of a batch, a fiftieth of the truth
    measured = specialist.corrected_probabilities(dustbin, subset, "dustbin", 0.5, 0.02)
    torch.testing.assert_close(measured, outputs / outputs.sum(-1, keepdim=True))
    odds = torch.full((9,), 49.0)
    odds[subset] = 1
    outputs = full.softmax(-1) * odds
    measured = specialist.corrected_probabilities(full, subset, "full softmax, hard targets", 0.5, 0.02)
    torch.testing.assert_close(measured, outputs / outputs.sum(-1, keepdim=True))


def test_a_students_view_order_and_options_are_those_of_its_run(stripy, tmp_path):
    changes = ["timing_steps=1", "max_train_examples=800"]
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_icons"), changes)
    runner = make_runner(tmp_path / "runs", settings, stripy, VariantsRunner)
    runner.execute([teacher_run(settings)])
    options = '{"temperature": 7.0, "hard_label_weight": 0.2}'
    plain = variants.students(settings, settings.baseline, options)[0]
    run = dataclasses.replace(plain, view="different", order=5)
    training = runner.training(run, None)
    assert (training.view, training.samplers[0].seed, training.seed) == ("different", 5, run.seed)
    assert training.net.method.options.model_dump() == {"temperature": 7.0, "hard_label_weight": 0.2}
    stored = runner.net_of(teacher_run(settings)).state_dict()
    assert all(torch.equal(stored[name], value) for name, value in training.teacher_net.state_dict().items())
    (record,) = runner.execute([plain])
    outputs, theirs = (
        runner.net_of(item).logits(stripy.test.images)[0].argmax(-1) for item in (plain, teacher_run(settings))
    )
    assert record["metrics"]["test_errors"] == int((outputs != stripy.test.labels).sum())
    assert record["metrics"]["test_agreement_testbed_teacher"] == pytest.approx(
        float((outputs == theirs).double().mean())
    )
