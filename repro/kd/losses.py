"""The paper's equations 1, 2 and 4: soft targets, the loss on them, and its limit at high temperature.

Equation 3 is the step between 2 and 4 and has no code of its own.

Every loss here takes logits with any leading axes, so a single net (batch, classes) and a population
(model, batch, classes) read the same. Temperatures and weights may be numbers or one value per model.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

PerModel = float | Float[Tensor, "*model"]


def soften(logits: Float[Tensor, "*model batch class"], temperature: PerModel) -> Tensor:
    """Equation 1: q_i = exp(z_i / T) / sum_j exp(z_j / T).

    Returns:
        Probabilities of the shape of ``logits``.
    """
    return torch.softmax(logits / _per_model(temperature, logits), dim=-1)


def soft_target_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
    temperature: PerModel,
) -> Float[Tensor, "*model"]:
    """T^2 KL(p || q) in nats, the mean over the batch, with teacher p and student q softened at T.

    The gradient is that of the cross-entropy with soft targets (section 2): the two differ by the
    teacher's entropy only, and the KL divergence is zero when the student matches. The factor T^2 undoes
    the 1 / T^2 by which soft targets scale the gradient, so that T can change while the weight of hard
    targets stays. The classes are summed, not averaged.
    """
    scale = _per_model(temperature, student)
    log_q = F.log_softmax(student / scale, dim=-1)
    log_p = F.log_softmax(teacher / scale, dim=-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1)
    return divergence * (scale[..., 0, 0] ** 2 if isinstance(scale, Tensor) else scale**2)


def logit_regression_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
) -> Float[Tensor, "*model"]:
    """1 / (2N) sum_i (z_i - v_i)^2 over N classes with zero-mean logits, the mean over the batch.

    Section 2.1: what ``soft_target_loss`` becomes as T grows, for its gradient (equation 4, times T^2)
    is (z_i - v_i) / N. As an objective of its own it is that of Ba & Caruana 2014.
    """
    difference = student - teacher
    difference = difference - difference.mean(-1, keepdim=True)
    return 0.5 * difference.square().mean(-1).mean(-1)


def hard_target_loss(
    student: Float[Tensor, "*model batch class"],
    labels: Int[Tensor, "#*model batch"],
) -> Float[Tensor, "*model"]:
    """Cross-entropy with the labels at T = 1, in nats, the mean over the batch."""
    labels = labels.expand(student.shape[:-1])
    return -F.log_softmax(student, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(-1)


def distillation_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
    labels: Int[Tensor, "#*model batch"],
    temperature: PerModel,
    hard_label_weight: PerModel,
) -> Float[Tensor, "*model"]:
    """Section 2: (1 - w) T^2 KL(soft targets) + w CE(labels at T = 1), a weighted average.

    An infinite temperature stands for the limit of section 2.1, logit regression.
    """
    temperature = torch.as_tensor(temperature, dtype=student.dtype, device=student.device)
    infinite = torch.isinf(temperature)
    soft = soft_target_loss(student, teacher, torch.where(infinite, 1.0, temperature))
    if bool(infinite.any()):
        soft = torch.where(infinite, logit_regression_loss(student, teacher), soft)
    return (1 - hard_label_weight) * soft + hard_label_weight * hard_target_loss(student, labels)


def arithmetic_mean(
    logits: Float[Tensor, "model batch class"], temperature: float = 1.0
) -> Float[Tensor, "batch class"]:
    """Section 2: the mean of an ensemble's probabilities at T, as logits that give it at the same T."""
    log_p = F.log_softmax(logits / temperature, dim=-1)
    return temperature * (torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(float(len(logits)))))


def geometric_mean(logits: Float[Tensor, "model batch class"]) -> Float[Tensor, "batch class"]:
    """Section 2: the normalised geometric mean of an ensemble's probabilities, the same at every T."""
    return logits.mean(0)


def exact_gradient(
    student: Float[Tensor, "*batch class"], teacher: Float[Tensor, "*batch class"], temperature: float
) -> Float[Tensor, "*batch class"]:
    """Equation 2: dC/dz_i = (q_i - p_i) / T, of the cross-entropy at T without the factor T^2."""
    q = torch.softmax(student / temperature, dim=-1)
    p = torch.softmax(teacher / temperature, dim=-1)
    return (q - p) / temperature


def high_temperature_gradient(
    student: Float[Tensor, "*batch class"], teacher: Float[Tensor, "*batch class"], temperature: float
) -> Float[Tensor, "*batch class"]:
    """Equation 4: dC/dz_i = (z_i - v_i) / (N T^2), for logits whose mean over the classes is zero."""
    student = student - student.mean(-1, keepdim=True)
    teacher = teacher - teacher.mean(-1, keepdim=True)
    return (student - teacher) / (student.shape[-1] * temperature**2)


def _per_model(value: PerModel, logits: Tensor) -> float | Tensor:
    """A per-model value shaped to broadcast over (model, batch, classes)."""
    if not isinstance(value, Tensor):
        return float(value)
    return value.to(logits.dtype)[..., None, None]
