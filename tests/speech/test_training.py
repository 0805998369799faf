"""Acoustic models: windows, training together, soft targets, evaluation."""

import pytest
import torch

from repro import kd
from repro.models.mlp import BatchedMLP
from repro.speech import evaluate, target_precision
from repro.speech.ensemble_targets import Teacher
from repro.speech.features import AFTER, BANKS, BEFORE, TARGET, WINDOW, Inputs, pack, padded_index, windows
from repro.speech.preparation import Prepared
from repro.speech.training import FrameTrainer, Watched, blocks, make_net
from repro.training.compute import Compute
from repro.training.mlp import MemberSpec
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

CPU = Compute(torch.device("cpu"), "fp32")
STATES = 7
RECIPE = Recipe(epochs=10, batch_size=32, learning_rate=3e-3)


def utterances(count=6, speakers=3, frames=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for n in range(count):
        states = torch.randint(STATES, (frames + n,), generator=generator)
        banks = torch.randn(frames + n, BANKS, generator=generator) + 3 * torch.eye(STATES, BANKS)[states] + n
        made.append((f"u{n}", f"s{n % speakers}", banks, states.short()))
    return made


@pytest.fixture(scope="module")
def frames():
    return pack(utterances())


def test_window_has_20_frames_before_and_5_after_the_target(frames):
    alone = pack([("u", "s", torch.arange(30.0)[:, None].expand(30, BANKS), torch.zeros(30).short())])
    view = windows(alone.banks)
    raw = alone.banks[alone.place][:, 0]  # normalized, in the same order
    middle = view[alone.place[22] - BEFORE][0]
    assert torch.equal(middle, raw[2:28]) and middle[TARGET] == raw[22] and len(middle) == WINDOW
    first, last = view[alone.place[0] - BEFORE][0], view[alone.place[29] - BEFORE][0]
    assert bool((first[: BEFORE + 1] == raw[0]).all()) and bool((last[-AFTER - 1 :] == raw[29]).all())
    assert Inputs(frames, CPU).view.untyped_storage().nbytes() == frames.banks.nbytes  # a view, no copy


def test_windows_do_not_cross_utterances(frames):
    other = utterances()
    other[2] = (*other[2][:2], other[2][2] + 100, other[2][3])
    changed = pack(other)
    untouched = torch.tensor([n for n, u in enumerate(frames.utterance.tolist()) if u % 3 != 2])
    assert torch.equal(Inputs(frames, CPU)[untouched], Inputs(changed, CPU)[untouched])


def test_padded_index_repeats_the_first_and_the_last_frame():
    source, inside = padded_index(torch.tensor([2, 3]))
    first = [0] * BEFORE + [0, 1] + [1] * AFTER
    assert source.tolist() == first + [2] * BEFORE + [2, 3, 4] + [4] * AFTER
    assert source[inside].tolist() == [0, 1, 2, 3, 4]


def test_features_of_each_speaker_have_mean_0_and_variance_1(frames):
    speaker = frames.speaker[frames.utterance]
    for number in range(3):
        banks = frames.banks[frames.place][speaker == number]
        torch.testing.assert_close(banks.mean(0), torch.zeros(BANKS), atol=1e-4, rtol=0)
        torch.testing.assert_close(banks.var(0, correction=0), torch.ones(BANKS), atol=1e-3, rtol=0)


def test_frames_of_selected_speakers_are_unchanged(frames):
    part = frames.of_speakers([2, 0])
    assert part.speakers == ("s0", "s2") and part.ids == ("u0", "u2", "u3", "u5")
    selected = torch.isin(frames.speaker[frames.utterance], torch.tensor([0, 2]))
    assert torch.equal(part.states, frames.states[selected])
    assert torch.equal(Inputs(part, CPU)[torch.arange(len(part))], Inputs(frames, CPU)[selected.nonzero()[:, 0]])
    assert [part.speakers[s] for s in part.speaker.tolist()] == ["s0", "s2", "s0", "s2"]


def trainer(hidden, members, frames, teacher=None, **context):
    context = TrainerContext(recipe=RECIPE, compute=CPU, **context)
    return FrameTrainer(
        hidden=hidden, members=members, frames=frames, cases=torch.arange(len(frames)), states=STATES, order=5,
        context=context, teacher=teacher,
    )  # fmt: skip


def member(net, m):
    """Return member ``m`` of a batched MLP as a model of its own."""
    alone = BatchedMLP(net.sizes, [net.seeds[m]], net.dtype, net.fp32_logits)
    alone.load_state_dict({name: value[m : m + 1] for name, value in net.state_dict().items()})
    return alone


def trained(frames, members, teacher=None, **changed):
    training = trainer((16, 16), members, frames, teacher, **changed)
    for _ in training.run():
        pass
    return training


def test_models_trained_together_equal_models_trained_alone(frames):
    together, alone = trained(frames, [MemberSpec(1), MemberSpec(2)]).net, trained(frames, [MemberSpec(2)]).net
    for batched, single in zip(member(together, 1).parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(batched, single, atol=1e-6, rtol=1e-5)


def test_training_learns_states_and_early_stopping_selects_the_best_step(frames):
    training = trained(frames, [MemberSpec(1)], validation=Watched(frames))
    assert int(training.best_errors) < 0.5 * len(frames)
    right = evaluate.Measure(_data(frames), CPU, 10**6).nets(training.best_net(), torch.arange(len(frames)))[0]
    assert right["validation_cases"] - right["validation_right"] == int(training.best_errors)


def _data(frames):
    return Prepared("toy", False, frames, frames, frames, "toy")


@pytest.mark.parametrize("cached", [True, False])
def test_geometric_mean_is_the_same_cached_and_computed_per_batch(frames, cached):
    ensemble, inputs = make_net((8,), STATES, [0, 1, 2], CPU), Inputs(frames, CPU)
    teacher = Teacher(ensemble, ["geometric"], [2.0])
    cases = torch.arange(10, 100)
    if cached:
        teacher.cache(inputs, cases, len(frames))
        assert teacher.cached_logits.dtype == ensemble.dtype
        teacher.ensemble = None  # the cache alone is used
    batch_indices = torch.tensor([50, 11, 99])
    expected = torch.stack([member(ensemble, m)(inputs[batch_indices])[0] for m in range(3)]).mean(0)
    torch.testing.assert_close(teacher.logits(inputs[batch_indices], batch_indices)[0], expected)


def test_fp16_logits_change_loss_and_gradient_by_less_than_a_thousandth():
    generator = torch.Generator().manual_seed(0)
    exact, student = (4 * torch.randn(1, 64, 500, generator=generator) for _ in range(2))
    results = []
    for logits in (exact, exact.half().float()):
        leaf = student.clone().requires_grad_()
        loss = kd.soft_target_loss(leaf, logits, 2.0).sum()
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    (loss, gradient), (fp16_loss, fp16_gradient) = results
    assert abs(float(loss - fp16_loss)) < 1e-3 * float(loss)
    assert float((gradient - fp16_gradient).norm() / gradient.norm()) < 1e-3


def test_errors_of_inexactly_stored_soft_targets(frames, monkeypatch):
    monkeypatch.setattr(target_precision, "TOP", (2, 4))
    ensemble, student = make_net((8,), STATES, [0, 1, 2], CPU), make_net((8,), STATES, [5], CPU)
    rows = target_precision.storage_errors(ensemble, student, Inputs(frames, CPU)[torch.arange(50)], 2.0)
    by_storage = {(row["storage"], row["top"]): row for row in rows}
    assert by_storage["per batch", None]["gradient_error"] < 1e-5  # fp32 here
    half = by_storage["fp16", None]
    assert 0 < half["gradient_error"] < 1e-2 and half["bytes"] == 2 * STATES
    two, four = (by_storage["top", k] for k in (2, 4))
    assert two["gradient_error"] > four["gradient_error"] > half["gradient_error"] and two["bytes"] < four["bytes"]
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    p, exact = target_precision.top(logits, 2).softmax(1)[0], logits.softmax(1)[0]
    torch.testing.assert_close(p[:2], exact[:2])
    torch.testing.assert_close(p[2:], exact[2:].mean().expand(2))


def test_losses_use_each_students_temperature_and_hard_label_weight(frames):
    ensemble, members = make_net((8,), STATES, [0, 1], CPU), [MemberSpec(3, 2.0, 0.5), MemberSpec(4, 5.0, 0.0)]
    training = trainer((16,), members, frames, Teacher(ensemble, ["geometric"] * 2, [2.0, 5.0]))
    at = training.order.indices(0)
    batch, labels = training.inputs[at], frames.states[at]
    teacher = ensemble.logits(batch).mean(0)
    temperature, hard_label_weight = torch.tensor([2.0, 5.0]), torch.tensor([0.5, 0.0])
    expected = kd.distillation_loss(training.net(batch), teacher, labels.long(), temperature, hard_label_weight)
    torch.testing.assert_close(training.losses(0), expected)


def test_students_of_both_means_trained_together(frames):
    ensemble, inputs = make_net((8,), STATES, [0, 1], CPU), Inputs(frames, CPU)
    teacher = Teacher(ensemble, ["geometric", "arithmetic"], [1.0, 2.0])
    batch_indices = torch.tensor([3, 4])
    geometric, arithmetic = teacher.logits(inputs[batch_indices], batch_indices)
    each = ensemble(inputs[batch_indices]).detach()
    torch.testing.assert_close(geometric, each.mean(0))
    torch.testing.assert_close((arithmetic / 2).softmax(-1), (each / 2).softmax(-1).mean(0))


def test_the_arithmetic_mean_of_confident_models_has_finite_logits(frames):
    ensemble, inputs = make_net((8,), STATES, [0, 1], CPU), Inputs(frames, CPU)
    with torch.no_grad():
        ensemble.weights[-1] *= 1e4
    torch.set_flush_denormal(True)  # as training does
    try:
        teacher = Teacher(ensemble, ["geometric", "arithmetic"], [1.0, 1.0])
        _, arithmetic = teacher.logits(inputs[torch.arange(9)], torch.arange(9))
    finally:
        torch.set_flush_denormal(False)
    assert arithmetic.isfinite().all() and arithmetic.min() < -80


def test_training_a_student_leaves_the_teacher_unchanged(frames):
    ensemble = make_net((8,), STATES, [0, 1], CPU)
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    teacher = Teacher(ensemble, ["geometric"], [2.0])
    trained(frames, [MemberSpec(3, 2.0, 0.5)], teacher)
    assert all(torch.equal(before[name], value) for name, value in ensemble.state_dict().items())
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_soft_targets_require_a_teacher(frames):
    with pytest.raises(ValueError, match="teacher"):
        trained(frames, [MemberSpec(0, 2.0, 0.5)])


class Killed(Exception):
    """Raised in place of a process that is killed."""


def test_resumed_training_is_bit_identical(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(FrameTrainer, "_checkpoint_due", lambda training: training.step % 3 == 0)

    def whole(checkpoint, stop=None):
        teacher = Teacher(make_net((8,), STATES, [7, 8], CPU), ["geometric"], [2.0])
        members, validation = [MemberSpec(0, 2.0, 0.5)], Watched(frames)
        training = trainer((8,), members, frames, teacher, checkpoint=checkpoint, validation=validation)
        started = training.step
        for snapshot in training.run(4, on_step=lambda: maybe_kill(training.step == stop)):
            training.history.append(float(snapshot.loss))
        best = {f"best.{name}": value for name, value in training.best.items()}
        best |= {"best_step": training.best_step, "history": torch.tensor(training.history)}
        return started, training.net.state_dict() | best

    def maybe_kill(now):
        if now:
            raise Killed

    with pytest.raises(Killed):
        whole(tmp_path / "a", stop=7)
    (started, resumed), (_, uninterrupted) = whole(tmp_path / "a"), whole(tmp_path / "b")
    assert started == 6 and all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)


def test_tally_matches_a_direct_computation(frames):
    net, inputs = make_net((8,), STATES, [0, 1], CPU), Inputs(frames, CPU)
    at = torch.arange(len(frames))
    tallies = evaluate.tally(((p, z.log_softmax(-1)) for p, z in blocks(net, inputs, at)), frames, 2)
    for m, tally in enumerate(tallies):
        logits = net(inputs[at])[m].detach()
        hit = logits.argmax(-1) == frames.states
        assert tally["right"] == int(hit.sum()) == sum(tally["speaker_right"]) and tally["cases"] == len(frames)
        assert tally["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, frames.states)), rel=1e-5)
        first = frames.speaker[frames.utterance] == 0
        assert tally["speaker_right"][0] == int(hit[first].sum())
        assert tally["speaker_cases"][0] == int(first.sum())


def test_stride_3_evaluates_every_third_frame(frames):
    training = trained(frames, [MemberSpec(1)], validation=Watched(frames, 3))
    metrics = evaluate.Measure(_data(frames), CPU, 100, every=3).nets(training.best_net(), torch.arange(50))[0]
    logits = training.best_net()(Inputs(frames, CPU)[torch.arange(len(frames))])[0]
    wrong = (logits.argmax(-1) != frames.states)[::3]
    assert metrics["test_cases"] == metrics["validation_cases"] == len(wrong) and metrics["train_cases"] == 50
    assert metrics["test_cases"] - metrics["test_right"] == int(wrong.sum()) == int(training.best_errors)


def test_ensembles_of_the_first_models_match_a_direct_computation(frames):
    net, inputs = make_net((8,), STATES, [0, 1, 2], CPU), Inputs(frames, CPU)
    wanted = [(1, "arithmetic"), (2, "arithmetic"), (3, "geometric")]
    results = evaluate.Measure(_data(frames), CPU, 100).ensembles(net, wanted)
    p = net(inputs[torch.arange(len(frames))]).detach().double().softmax(-1)
    expected = [p[0], p[:2].mean(0), p.log().mean(0)]
    assert [metrics["test_right"] for metrics in results] == [
        int((e.argmax(-1) == frames.states).sum()) for e in expected
    ]
    assert [metrics["nets"] for metrics in results] == [1, 2, 3]
