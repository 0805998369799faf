"""The loss of each method against its formula, computed image by image in float64."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from repro import config
from repro.errors import UserError
from repro.variants import methods
from repro.variants.methods import base
from repro.variants.methods.base import ModelOutput
from repro.variants.settings import VariantsSettings

BATCH, CLASSES = 6, 5


def softmax(z, t=1.0):
    e = np.exp(np.asarray(z) / t - np.max(np.asarray(z) / t))
    return e / e.sum()


def kl(p, q):
    return float((p * np.log(p / q)).sum())


@pytest.fixture
def given():
    draw = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
    student_features = {"maps": make(BATCH, 3, 4, 4), "units": make(BATCH, 7), "large": make(BATCH, 3, 8, 8)}
    student = ModelOutput(2 * make(BATCH, CLASSES), student_features)
    teacher = ModelOutput(3 * make(BATCH, CLASSES), {"maps": make(BATCH, 8, 4, 4), "units": make(BATCH, 9)})
    return student, teacher, torch.randint(CLASSES, (BATCH,), generator=draw)


def method(name, student, teacher, **options):
    kind = methods.find(name)
    return kind(kind.Options(**options), student, teacher).double()


def loss(name, given, progress=0.5, **options):
    student, teacher, labels = given
    return method(name, student, teacher, **options)(student, teacher, labels, progress).item()


def rows(given):
    student, teacher, labels = given
    return list(zip(student.logits.numpy(), teacher.logits.numpy(), labels.tolist(), strict=True))


def hard(given):
    return np.mean([-np.log(softmax(z)[y]) for z, _, y in rows(given)])


def soft(given, t):
    return np.mean([t * t * kl(softmax(v, t), softmax(z, t)) for z, v, _ in rows(given)])


def test_loss_without_distillation(given):
    assert loss("none", given) == pytest.approx(hard(given))


def test_loss_of_label_smoothing(given):
    expected = np.mean([-(0.8 * np.log(softmax(z)[y]) + 0.2 * np.log(softmax(z)).mean()) for z, _, y in rows(given)])
    assert loss("label_smoothing", given, smoothing=0.2) == pytest.approx(expected)


def test_loss_of_kd(given):
    expected = 0.7 * soft(given, 3.0) + 0.3 * hard(given)
    assert loss("kd", given, temperature=3, hard_label_weight=0.3) == pytest.approx(expected)


def test_loss_of_logit_regression(given):
    apart = [np.square((z - z.mean()) - (v - v.mean())).sum() / 2 for z, v, _ in rows(given)]
    expected = 0.75 * np.mean(apart) + 0.25 * hard(given)
    assert loss("logit_regression", given, hard_label_weight=0.25) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["maps", "units"])
def test_fitnets_switches_from_the_hint_loss_to_kd_after_stage_1(given, name):
    student, teacher, labels = given
    objective = method(
        "fitnets", student, teacher, pairs=[(name, name)], stage1_fraction=0.4, temperature=2, hard_label_weight=0.5
    )
    weight, bias = (
        parameter.detach() for parameter in (objective.regressor.linear.weight, objective.regressor.linear.bias)
    )
    guess = torch.einsum("bi...,oi->bo...", student.features[name], weight)
    guess = guess + bias.view(1, -1, *[1] * (guess.dim() - 2))
    expected = 0.5 * np.square(guess.numpy() - teacher.features[name].numpy()).mean()
    assert objective(student, teacher, labels, 0.39).item() == pytest.approx(expected)
    assert objective(student, teacher, labels, 0.4).item() == pytest.approx(0.5 * soft(given, 2.0) + 0.5 * hard(given))


def test_loss_of_feature_maps(given):
    student, teacher, labels = given
    pairs = [("maps", "maps"), ("units", "units")]
    objective = method("feature_maps", student, teacher, pairs=pairs, weight=3, temperature=2, hard_label_weight=0.1)
    apart = []
    for (student_name, teacher_name), regress in zip(pairs, objective.regressors, strict=True):
        guess, wanted = regress(student.features[student_name]).detach().numpy(), teacher.features[teacher_name].numpy()
        apart.append(np.square(guess - wanted).mean() / np.square(wanted).mean())
    expected = 0.9 * soft(given, 2.0) + 0.1 * hard(given) + 3 * np.mean(apart)
    assert objective(student, teacher, labels, 0.0).item() == pytest.approx(expected)


def test_attention_transfer_of_activations_pools_larger_maps(given):
    student, teacher, _ = given

    def maps(features):
        attention = np.square(features.numpy()).mean(1).reshape(BATCH, -1)
        return attention / np.linalg.norm(attention, axis=1, keepdims=True)

    halved = student.features["large"].reshape(BATCH, 3, 4, 2, 4, 2).mean((3, 5))  # to the teacher's rows and columns
    apart = sum(np.square(maps(features) - maps(teacher.features["maps"])).mean()
                for features in (student.features["maps"], halved))  # fmt: skip
    pairs = [("maps", "maps"), ("large", "maps")]
    options = {"pairs": pairs, "weight": 50, "temperature": 2, "hard_label_weight": 0.1}
    expected = 0.9 * soft(given, 2.0) + 0.1 * hard(given) + 50 * apart
    assert loss("attention", given, **options) == pytest.approx(expected)


def test_attention_transfer_of_gradients_gives_the_student_a_gradient(given):
    _, _, labels = given
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(BATCH, 4, generator=draw, dtype=torch.float64).requires_grad_()
    weights = [torch.randn(4, CLASSES, generator=draw, dtype=torch.float64) for _ in range(2)]
    student_weights = weights[0].clone().requires_grad_()
    student, teacher = (
        ModelOutput(images @ student_weights, images=images),
        ModelOutput(images @ weights[1], images=images),
    )
    objective = method("attention", student, teacher, kind="gradient", weight=7, temperature=1, hard_label_weight=1.0)
    total = objective(student, teacher, labels, 0.0)
    apart, cross = [], []
    for x, y in zip(images.detach().numpy(), labels.tolist(), strict=True):
        input_gradient = [255 * w.numpy() @ (softmax(x @ w.numpy()) - np.eye(CLASSES)[y]) for w in weights]
        apart.append(np.square(input_gradient[0] - input_gradient[1]).sum() / 2)
        cross.append(-np.log(softmax(x @ weights[0].numpy())[y]))
    assert total.item() == pytest.approx(np.mean(cross) + 7 * np.mean(apart))
    total.backward()
    assert bool(student_weights.grad.isfinite().all()) and float(student_weights.grad.norm()) > 0


def exit_by_hand(early, features):
    """Return the logits of an exit: separable convolutions, batch normalization, ReLU; spatial mean; linear layer."""
    for layer in early.convolutions:
        each, across = layer.each.weight.detach().numpy()[:, 0], layer.across.weight.detach().numpy()[:, :, 0, 0]
        wide = np.pad(features, ((0, 0), (0, 0), (1, 1), (1, 1)))
        rows, columns = ((length + 1) // 2 for length in features.shape[2:])
        convolved = np.zeros((*features.shape[:2], rows, columns))
        for i, j in np.ndindex(rows, columns):
            convolved[:, :, i, j] = np.einsum("bcxy,cxy->bc", wide[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], each)
        convolved = np.einsum("bcij,oc->boij", convolved, across)
        centered = convolved - convolved.mean((0, 2, 3), keepdims=True)
        spread = np.square(centered).mean((0, 2, 3), keepdims=True)
        features = np.maximum(centered / np.sqrt(spread + layer.norm.eps), 0)
    means = features.mean((2, 3)) if features.ndim == 4 else features
    return means @ early.linear.weight.detach().numpy().T + early.linear.bias.detach().numpy()


def test_in_self_distillation_the_deepest_exit_learns_from_the_labels_alone(given):
    student, _, labels = given
    logits = student.logits.clone().requires_grad_()
    student = ModelOutput(logits, student.features)
    objective = method("self_distillation", student, None, exits=["maps", "units"], temperature=2, soft_weight=0.4)
    assert [len(early.convolutions) for early in objective.exits] == [2, 0]
    expected = hard(given)
    for name, early in zip(("maps", "units"), objective.exits, strict=True):
        exit_logits = exit_by_hand(early, student.features[name].numpy())
        pairs = list(zip(exit_logits, *zip(*rows(given), strict=True), strict=True))
        cross = np.mean([-np.log(softmax(e)[y]) for e, _, _, y in pairs])
        apart = np.mean([4 * kl(softmax(z, 2), softmax(e, 2)) for e, z, _, _ in pairs])
        expected += 0.6 * cross + 0.4 * apart
    total = objective(student, None, labels, 0.0)
    assert total.item() == pytest.approx(expected)
    total.backward()
    by_hand = np.stack([(softmax(z) - np.eye(CLASSES)[y]) / BATCH for z, _, y in rows(given)])
    np.testing.assert_allclose(logits.grad.numpy(), by_hand, atol=1e-12)


def test_adversarial_reverses_the_gradient_of_the_student_alone(given):
    student, teacher, labels = given
    logits = student.logits.clone().requires_grad_()
    objective = method("adversarial", student, teacher, weight=0.5, units=8, temperature=2, hard_label_weight=0.0)
    total = objective(ModelOutput(logits), teacher, labels, 0.0)
    total.backward()
    reversed_part = logits.grad.clone()
    plain = logits.detach().clone().requires_grad_()
    centered = torch.cat([plain, teacher.logits])
    centered = centered - centered.mean(1, keepdim=True)
    verdict = objective.verdict(objective.of_logits(centered) + objective.of_class(labels.repeat(2)))[:, 0]
    guess = -(torch.sigmoid(-verdict[:BATCH]).log().sum() + torch.sigmoid(verdict[BATCH:]).log().sum()) / (2 * BATCH)
    guess.backward()
    assert total.item() == pytest.approx(soft(given, 2.0) + guess.item())
    by_soft = np.stack([2 * (softmax(z, 2) - softmax(v, 2)) / BATCH for z, v, _ in rows(given)])
    np.testing.assert_allclose(reversed_part.numpy(), by_soft - 0.5 * plain.grad.numpy(), atol=1e-12)


def test_loss_of_dkd_and_its_warmup(given):
    t, expected = 2.0, []
    for z, v, y in rows(given):
        q, p = softmax(z, t), softmax(v, t)
        others = [k for k in range(CLASSES) if k != y]
        target = kl(np.array([p[y], 1 - p[y]]), np.array([q[y], 1 - q[y]]))
        other = kl(p[others] / p[others].sum(), q[others] / q[others].sum())
        assert t * t * (target + (1 - p[y]) * other) == pytest.approx(t * t * kl(p, q))  # equation 6
        expected.append(-np.log(softmax(z)[y]) + t * t * (1.5 * target + 4 * other))
    options = {"temperature": t, "tckd_weight": 1.5, "nckd_weight": 4, "warmup_fraction": 0.5}
    assert loss("dkd", given, progress=0.7, **options) == pytest.approx(np.mean(expected))
    half = hard(given) + 0.5 * (np.mean(expected) - hard(given))
    assert loss("dkd", given, progress=0.25, **options) == pytest.approx(half)


def test_gradients_of_dkd_are_finite_for_a_teacher_of_probability_1(given):
    student, teacher, labels = given
    logits = student.logits.clone().requires_grad_()
    sure = ModelOutput(teacher.logits + 1000 * torch.nn.functional.one_hot(labels, CLASSES))
    method("dkd", student, sure, temperature=1)(ModelOutput(logits), sure, labels, 0.9).backward()
    assert bool(logits.grad.isfinite().all())


def test_loss_of_logit_standardization(given):
    apart = []
    for z, v, _ in rows(given):
        z, v = ((logits - logits.mean()) / (logits.std(ddof=1) + 1e-7) for logits in (z, v))
        apart.append(4 * kl(softmax(v, 2), softmax(z, 2)))
    expected = 0.1 * hard(given) + 9 * np.mean(apart)
    assert loss("logit_std", given, temperature=2, soft_weight=9, hard_label_weight=0.1) == pytest.approx(expected)


def test_loss_of_dist(given):
    t = 2.0
    q, p = (np.stack([softmax(logits, t) for logits in side]) for side in list(zip(*rows(given), strict=True))[:2])
    by_row = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p, strict=True)])
    by_column = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T, strict=True)])
    options = {"temperature": t, "row_weight": 2, "column_weight": 3}
    expected = hard(given) + t * t * (2 * by_row + 3 * by_column)
    assert loss("dist", given, **options) == pytest.approx(expected)


def test_every_method_cites_its_source_and_gives_the_student_a_gradient(given):
    options = {
        "fitnets": {"pairs": [("maps", "maps")]}, "feature_maps": {"pairs": [("maps", "maps")]},
        "attention": {"pairs": [("maps", "maps")]}, "self_distillation": {"exits": ["maps"]},
    }  # fmt: skip
    names = [plan.method for plan in config.load(VariantsSettings, config.profile_path("variants", "icons")).methods]
    assert len(names) == 12
    for name in names:
        student, teacher, labels = given
        learns = ModelOutput(student.logits.clone().requires_grad_(), student.features)
        objective = method(name, learns, teacher, **options.get(name, {}))
        objective(learns, teacher if objective.has_teacher else None, labels, 0.9).backward()
        assert objective.source and learns.logits.grad is not None and learns.logits.grad.any()


def test_bad_options_are_refused_by_name(given, monkeypatch):
    student, teacher, _ = given
    with pytest.raises(UserError, match="must be one of adversarial, attention"):
        methods.find("hint")
    with pytest.raises(UserError, match=r"base.py must define a class Method\(base.Method\)"):
        monkeypatch.setattr(methods, "names", lambda: ["base"])
        monkeypatch.setattr(methods.base, "Method", object)
        methods.find("base")
    monkeypatch.undo()
    with pytest.raises(ValidationError, match="pairs must be given"):
        methods.find("attention").Options()
    with pytest.raises(ValueError, match="units has no feature maps"):
        method("attention", student, teacher, pairs=[("units", "units")])
    with pytest.raises(ValueError, match="maps with maps"):
        base.Regressor(student.features["maps"], teacher.features["units"])
