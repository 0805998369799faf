"""Acoustic models: windows by index, populations, soft targets made on the way, measuring."""

import pytest
import torch

from repro import config, kd
from repro.errors import UserError
from repro.models.flops import count_parameters
from repro.models.mlp import BatchedMLP
from repro.speech import evaluate, target_precision
from repro.speech.ensemble_targets import Teacher
from repro.speech.features import AFTER, BANKS, BEFORE, INPUTS, TARGET, WINDOW, Inputs, lay_out, windows
from repro.speech.preparation import Prepared
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTrainer, Watched, blocks, make_net
from repro.training.compute import Compute
from repro.training.mlp import MemberSpec
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

CPU = Compute(torch.device("cpu"), "fp32")
STATES = 7
RECIPE = Recipe(epochs=10, batch_size=32, learning_rate=3e-3)


def utterances(count=6, speakers=3, frames=40, seed=0):
    draw = torch.Generator().manual_seed(seed)
    found = []
    for n in range(count):
        states = torch.randint(STATES, (frames + n,), generator=draw)
        banks = torch.randn(frames + n, BANKS, generator=draw) + 3 * torch.eye(STATES, BANKS)[states] + n
        found.append((f"u{n}", f"s{n % speakers}", banks, states.short()))
    return found


@pytest.fixture(scope="module")
def frames():
    return lay_out(utterances())


def test_a_window_is_the_20_frames_before_the_5_after_and_the_frame_itself(frames):
    alone = lay_out([("u", "s", torch.arange(30.0)[:, None].expand(30, BANKS), torch.zeros(30).short())])
    view = windows(alone.banks)
    raw = alone.banks[alone.place][:, 0]  # normalised, still in order
    middle = view[alone.place[22] - BEFORE][0]
    assert torch.equal(middle, raw[2:28]) and middle[TARGET] == raw[22] and len(middle) == WINDOW
    first, last = view[alone.place[0] - BEFORE][0], view[alone.place[29] - BEFORE][0]
    assert bool((first[: BEFORE + 1] == raw[0]).all()) and bool((last[-AFTER - 1 :] == raw[29]).all())
    assert Inputs(frames, CPU).view.untyped_storage().nbytes() == frames.banks.nbytes  # a view, no copy


def test_no_window_reaches_into_another_utterance(frames):
    other = utterances()
    other[2] = (*other[2][:2], other[2][2] + 100, other[2][3])
    changed = lay_out(other)
    untouched = torch.tensor([n for n, u in enumerate(frames.utterance.tolist()) if u % 3 != 2])
    assert torch.equal(Inputs(frames, CPU)[untouched], Inputs(changed, CPU)[untouched])


def test_each_speaker_has_mean_0_and_variance_1(frames):
    speaker = frames.speaker[frames.utterance]
    for one in range(3):
        own = frames.banks[frames.place][speaker == one]
        torch.testing.assert_close(own.mean(0), torch.zeros(BANKS), atol=1e-4, rtol=0)
        torch.testing.assert_close(own.var(0, correction=0), torch.ones(BANKS), atol=1e-3, rtol=0)


def test_speakers_set_apart_keep_their_frames(frames):
    part = frames.of_speakers([2, 0])
    assert part.speakers == ("s0", "s2") and part.ids == ("u0", "u2", "u3", "u5")
    kept = torch.isin(frames.speaker[frames.utterance], torch.tensor([0, 2]))
    assert torch.equal(part.states, frames.states[kept])
    assert torch.equal(Inputs(part, CPU)[torch.arange(len(part))], Inputs(frames, CPU)[kept.nonzero()[:, 0]])
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


def test_a_member_of_a_population_is_the_net_trained_alone(frames):
    together, alone = trained(frames, [MemberSpec(1), MemberSpec(2)]).net, trained(frames, [MemberSpec(2)]).net
    for mine, theirs in zip(member(together, 1).parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_the_net_learns_the_states_and_early_stopping_keeps_the_best(frames):
    training = trained(frames, [MemberSpec(1)], validation=Watched(frames))
    assert int(training.best_errors) < 0.5 * len(frames)
    right = evaluate.Measure(_data(frames), CPU, 10**6).nets(training.best_net(), torch.arange(len(frames)))[0]
    assert right["validation_cases"] - right["validation_right"] == int(training.best_errors)


def _data(frames):
    return Prepared("toy", False, frames, frames, frames, "toy")


@pytest.mark.parametrize("kept", [True, False])
def test_the_geometric_mean_is_the_same_kept_and_made_on_the_way(frames, kept):
    ensemble, inputs = make_net((8,), STATES, [0, 1, 2], CPU), Inputs(frames, CPU)
    teacher = Teacher(ensemble, ["geometric"], [2.0])
    cases = torch.arange(10, 100)
    if kept:
        teacher.keep(inputs, cases, len(frames))
        assert teacher.kept.dtype == torch.float16
    picked = torch.tensor([50, 11, 99])
    expected = torch.stack([member(ensemble, m)(inputs[picked])[0] for m in range(3)]).mean(0)
    torch.testing.assert_close(teacher.logits(inputs[picked], picked)[0].float(), expected, atol=2e-3, rtol=2e-3)


def test_what_keeping_logits_in_half_precision_changes_in_loss_and_gradient(frames):
    draw = torch.Generator().manual_seed(0)
    exact, student = (4 * torch.randn(1, 64, 500, generator=draw) for _ in range(2))
    results = []
    for logits in (exact, exact.half().float()):
        request_metadata = student.clone().requires_grad_()
        loss = kd.soft_target_loss(request_metadata, logits, 2.0).sum()
        loss.backward()
        results.append((loss.detach(), request_metadata.grad))
    (loss, gradient), (kept_loss, kept_gradient) = results
    assert abs(float(loss - kept_loss)) < 1e-3 * float(loss)
    assert float((gradient - kept_gradient).norm() / gradient.norm()) < 1e-3


def test_what_is_lost_where_soft_targets_are_not_held_exactly(frames, monkeypatch):
    monkeypatch.setattr(target_precision, "TOP", (2, 4))
    ensemble, student = make_net((8,), STATES, [0, 1, 2], CPU), make_net((8,), STATES, [5], CPU)
    found = target_precision.errors(ensemble, student, Inputs(frames, CPU)[torch.arange(50)], 2.0)
    by_way = {row["way"]: row for row in found}
    assert by_way["computed on the way"]["gradient_error"] < 1e-5  # fp32 here
    half = by_way["kept in half precision"]
    assert 0 < half["gradient_error"] < 1e-2 and half["bytes"] == 2 * STATES
    two, four = (by_way[f"top {k} kept, the rest alike"] for k in (2, 4))
    assert two["gradient_error"] > four["gradient_error"] > half["gradient_error"] and two["bytes"] < four["bytes"]
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    p, exact = target_precision.top(logits, 2).softmax(1)[0], logits.softmax(1)[0]
    torch.testing.assert_close(p[:2], exact[:2])
    torch.testing.assert_close(p[2:], exact[2:].mean().expand(2))


def test_losses_are_those_of_each_students_temperature_and_weight(frames):
    ensemble, members = make_net((8,), STATES, [0, 1], CPU), [MemberSpec(3, 2.0, 0.5), MemberSpec(4, 5.0, 0.0)]
    training = trainer((16,), members, frames, Teacher(ensemble, ["geometric"] * 2, [2.0, 5.0]))
    at = training.order.indices(0)
    batch, labels = training.inputs[at], frames.states[at]
    said = ensemble.logits(batch).mean(0)
    temperature, hard_label_weight = torch.tensor([2.0, 5.0]), torch.tensor([0.5, 0.0])
    expected = kd.distillation_loss(training.net(batch), said, labels.long(), temperature, hard_label_weight)
    torch.testing.assert_close(training.losses(0), expected)


def test_students_of_both_means_in_one_population(frames):
    ensemble, inputs = make_net((8,), STATES, [0, 1], CPU), Inputs(frames, CPU)
    teacher = Teacher(ensemble, ["geometric", "arithmetic"], [1.0, 2.0])
    picked = torch.tensor([3, 4])
    one, other = teacher.logits(inputs[picked], picked)
    each = ensemble(inputs[picked]).detach()
    torch.testing.assert_close(one, each.mean(0))
    torch.testing.assert_close((other / 2).softmax(-1), (each / 2).softmax(-1).mean(0))


def test_the_teacher_stays_as_it_was_and_no_gradient_goes_into_it(frames):
    ensemble = make_net((8,), STATES, [0, 1], CPU)
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    teacher = Teacher(ensemble, ["geometric"], [2.0])
    trained(frames, [MemberSpec(3, 2.0, 0.5)], teacher)
    assert all(torch.equal(before[name], value) for name, value in ensemble.state_dict().items())
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_soft_targets_without_a_teacher_are_refused(frames):
    with pytest.raises(ValueError, match="teacher"):
        trained(frames, [MemberSpec(0, 2.0, 0.5)])


class Killed(Exception):
    """Stands for a process that ends here."""


def test_a_killed_training_ends_bit_identical(frames, tmp_path, monkeypatch):
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


def test_tally_by_hand(frames):
    net, inputs = make_net((8,), STATES, [0, 1], CPU), Inputs(frames, CPU)
    at = torch.arange(len(frames))
    found = evaluate.tally(((p, z.log_softmax(-1)) for p, z in blocks(net, inputs, at)), frames, 2)
    for m, one in enumerate(found):
        logits = net(inputs[at])[m].detach()
        hit = logits.argmax(-1) == frames.states
        assert one["right"] == int(hit.sum()) == sum(one["speaker_right"]) and one["cases"] == len(frames)
        assert one["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, frames.states)), rel=1e-5)
        first = frames.speaker[frames.utterance] == 0
        assert one["speaker_right"][0] == int(hit[first].sum()) and one["speaker_cases"][0] == int(first.sum())


def test_every_third_frame_is_counted_and_watched(frames):
    training = trained(frames, [MemberSpec(1)], validation=Watched(frames, 3))
    found = evaluate.Measure(_data(frames), CPU, 100, every=3).nets(training.best_net(), torch.arange(50))[0]
    logits = training.best_net()(Inputs(frames, CPU)[torch.arange(len(frames))])[0]
    wrong = (logits.argmax(-1) != frames.states)[::3]
    assert found["test_cases"] == found["validation_cases"] == len(wrong) and found["train_cases"] == 50
    assert found["test_cases"] - found["test_right"] == int(wrong.sum()) == int(training.best_errors)


def test_ensembles_of_the_first_nets_by_hand(frames):
    net, inputs = make_net((8,), STATES, [0, 1, 2], CPU), Inputs(frames, CPU)
    wanted = [(1, "arithmetic"), (2, "arithmetic"), (3, "geometric")]
    found = evaluate.Measure(_data(frames), CPU, 100).ensembles(net, wanted)
    p = net(inputs[torch.arange(len(frames))]).detach().double().softmax(-1)
    expected = [p[0], p[:2].mean(0), p.log().mean(0)]
    assert [one["test_right"] for one in found] == [int((e.argmax(-1) == frames.states).sum()) for e in expected]
    assert [one["nets"] for one in found] == [1, 2, 3]


def test_the_papers_own_net_has_84_4_million_weights():
    own = config.load(SpeechSettings, config.profile_path("speech", "paper_scale"))
    assert INPUTS == 26 * 40 and own.hidden == (2560,) * 8
    assert count_parameters((INPUTS, *own.hidden, 14_000)) == pytest.approx(84.4e6, rel=1e-3)


@pytest.mark.parametrize("profile", ["paper", "speechocean762", "quick", "smoke"])
def test_every_profile_reads_and_keeps_to_the_papers_procedure(profile):
    own = config.load(SpeechSettings, config.profile_path("speech", profile))
    assert own.distilled.hard_label_weight == 0.5 and {1.0, 2.0} <= set(own.distilled.temperatures)
    assert 0.03 in {part.share for part in own.subsets.parts}
    assert not any((own.recipe.hidden_dropout, own.recipe.max_translation, own.distilled.recipe.hidden_dropout))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.corpus=timit", "synth, librispeech, or kaldi:PATH"),
        ("data.corpus=kaldi:", "kaldi:PATH"),
        ("data.held_out=1.0", "data.held_out"),
        ("hidden=[]", "hidden"),
        ("ensemble=0", "ensemble"),
        ("studies.sizes=[11]", "at most ensemble"),
        ("distilled.temperatures=[inf]", "distilled.temperatures"),
        ("distilled.hard_wait=1", "did you mean hard_label_weight"),
        ("words.scales=[0]", "words.scales"),
    ],
)
def test_bad_settings_are_named(change, said):
    with pytest.raises(UserError, match=said):
        config.load(SpeechSettings, config.profile_path("speech", "smoke"), [change])
