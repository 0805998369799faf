"""Equations 1, 2 and 4 of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531) and the losses built from them.

Soft targets (equation 1), the loss on them and its gradient (equation 2), and its limit at high temperature (equation
4). Equation 3 is the step between 2 and 4 and has no code.

Every loss takes logits with any leading axes: (batch, class) for a single model, (model, batch, class) for models side
by side; those of a sequence, (batch, time, class), are flattened by ``flatten(0, 1)`` first. Temperatures are above 0;
they and weights are numbers, or tensors with one value per model. Logits must be finite. Those in bf16 or fp16 are
computed with in fp32, for at high T the differences that a loss measures are below their rounding. A teacher's logits
are not detached here.

Raises:
    ValueError: batch or classes of student, teacher and labels differ in size, T or w has more axes than there are
        models, or a number for T is not above 0.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

PerModel = float | Float[Tensor, "*model"]


def soften(logits: Float[Tensor, "*model batch class"], temperature: PerModel) -> Tensor:
    """Return soft targets, equation 1: q_i = exp(z_i / T) / sum_j exp(z_j / T).

    Returns:
        Probabilities, of the shape of ``logits``.
    """
    logits = _wide(logits)
    return torch.softmax(logits / _per_model(temperature, logits), dim=-1)


def soft_target_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
    temperature: PerModel,
) -> Float[Tensor, "*model"]:
    """Return the loss on soft targets of section 2: T^2 KL(p || q) in nats, averaged over the batch.

    p and q are the probabilities of teacher and student at T; classes are summed, not averaged. The gradient is that
    of the cross-entropy with soft targets: the two differ by the teacher's entropy only, and the KL divergence is zero
    where the student matches the teacher. The factor T^2 undoes the 1 / T^2 by which soft targets scale the gradient,
    so that the weight of hard targets need not change with T. T is finite. In PyTorch's terms, for a single model::

        F.kl_div(F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean") * T**2
    """
    student, teacher = _wide(student), _wide(teacher)
    _check_sizes(student, teacher)
    scale = _per_model(temperature, student)
    log_q = F.log_softmax(student / scale, dim=-1)
    log_p = F.log_softmax(teacher / scale, dim=-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1)
    return divergence * (scale[..., 0, 0] ** 2 if isinstance(scale, Tensor) else scale**2)


def logit_regression_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
) -> Float[Tensor, "*model"]:
    """Return 1 / (2N) sum_i (z_i - v_i)^2 over N classes with zero-mean logits, averaged over the batch.

    Section 2.1: the limit of ``soft_target_loss`` as T grows; its gradient is equation 4 times T^2, (z_i - v_i) / N.
    By itself it is the objective of Ba & Caruana 2014 (arXiv 1312.6184), but for the factor 1 / N and the means.
    """
    student, teacher = _wide(student), _wide(teacher)
    _check_sizes(student, teacher)
    difference = student - teacher
    difference = difference - difference.mean(-1, keepdim=True)
    return 0.5 * difference.square().mean(-1).mean(-1)


def hard_target_loss(
    student: Float[Tensor, "*model batch class"],
    labels: Int[Tensor, "#*model batch"],
) -> Float[Tensor, "*model"]:
    """Return the cross-entropy with the labels at T = 1, in nats, averaged over the batch."""
    if labels.shape[-1:] != student.shape[-2:-1]:
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(student.shape)}")
    student = _wide(student)
    labels = labels.expand(student.shape[:-1])
    return -F.log_softmax(student, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(-1)


def distillation_loss(
    student: Float[Tensor, "*model batch class"],
    teacher: Float[Tensor, "#*model batch class"],
    labels: Int[Tensor, "#*model batch"],
    temperature: PerModel,
    hard_label_weight: PerModel,
) -> Float[Tensor, "*model"]:
    """Return the objective of section 2: (1 - w) T^2 KL(soft targets at T) + w CE(labels at T = 1), in nats.

    An infinite temperature stands for the limit of section 2.1, ``logit_regression_loss``.

    A single model needs no leading axis, and numbers for T and w:

    >>> student = torch.tensor([[1.0, 0.0, -1.0]])
    >>> teacher = torch.tensor([[3.0, 1.0, -1.0]])
    >>> loss = distillation_loss(student, teacher, torch.tensor([0]), temperature=2.0, hard_label_weight=0.1)
    >>> round(float(loss), 4)
    0.2577

    Args:
        student: the student's logits.
        teacher: the teacher's logits, of the same batch; detach them, or compute them without gradient.
        labels: classes.
        temperature: T, one number or one per model; ``math.inf`` for the limit.
        hard_label_weight: w in 0 .. 1, one number or one per model.

    Returns:
        A scalar for a single model, otherwise one loss per model.
    """
    student, teacher = _wide(student), _wide(teacher)
    _check_temperature(temperature)
    temperature = torch.as_tensor(temperature, dtype=student.dtype, device=student.device)
    infinite = torch.isinf(temperature)
    soft = soft_target_loss(student, teacher, temperature.masked_fill(infinite, 1.0))
    if infinite.is_cuda or bool(infinite.any()):  # on a GPU, asking would wait for it
        soft = torch.where(infinite, logit_regression_loss(student, teacher), soft)
    if isinstance(hard_label_weight, Tensor):
        _check_axes(hard_label_weight, student)
    return (1 - hard_label_weight) * soft + hard_label_weight * hard_target_loss(student, labels)


def arithmetic_mean(
    logits: Float[Tensor, "model batch class"], temperature: float = 1.0
) -> Float[Tensor, "batch class"]:
    """Return the arithmetic mean of an ensemble's probabilities at T, as logits that give it at the same T (section 2).

    The mean is taken in the log domain, so no probability is clamped. ``speech.ensemble_targets``, ``speech.evaluate``
    and ``specialists.runner`` average probabilities, clamp and take the logarithm instead: that is faster over
    thousands of classes, and merging the versions would change the last digits of committed numbers.
    """
    log_p = F.log_softmax(logits / temperature, dim=-1)
    return temperature * (torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(float(len(logits)))))


def geometric_mean(logits: Float[Tensor, "model batch class"]) -> Float[Tensor, "batch class"]:
    """Return logits of the normalized geometric mean of an ensemble's probabilities, at every T (section 2)."""
    return logits.mean(0)


def exact_gradient(
    student: Float[Tensor, "*batch class"], teacher: Float[Tensor, "*batch class"], temperature: float
) -> Float[Tensor, "*batch class"]:
    """Return equation 2, dC/dz_i = (q_i - p_i) / T: the gradient of the cross-entropy at T, without the factor T^2."""
    q = torch.softmax(student / temperature, dim=-1)
    p = torch.softmax(teacher / temperature, dim=-1)
    return (q - p) / temperature


def high_temperature_gradient(
    student: Float[Tensor, "*batch class"], teacher: Float[Tensor, "*batch class"], temperature: float
) -> Float[Tensor, "*batch class"]:
    """Return equation 4, dC/dz_i = (z_i - v_i) / (N T^2): equation 2 at high T, for zero-mean logits."""
    student = student - student.mean(-1, keepdim=True)
    teacher = teacher - teacher.mean(-1, keepdim=True)
    return (student - teacher) / (student.shape[-1] * temperature**2)


def _per_model(value: PerModel, logits: Tensor) -> float | Tensor:
    """Return a per-model value shaped to broadcast over (model, batch, class)."""
    if not isinstance(value, Tensor):
        _check_temperature(value)
        return float(value)
    _check_axes(value, logits)
    return value.to(logits.dtype)[..., None, None]


def _wide(logits: Tensor) -> Tensor:
    """Return logits in fp32 or finer."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_sizes(student: Tensor, teacher: Tensor) -> None:
    if student.shape[-2:] != teacher.shape[-2:]:
        raise ValueError(
            f"logits of the student have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}"
        )


def _check_axes(value: Tensor, logits: Tensor) -> None:
    if value.dim() > max(logits.dim() - 2, 0):
        raise ValueError(
            f"T and the weight of hard labels are numbers or one per model: shape {tuple(value.shape)} does not fit "
            f"logits of shape {tuple(logits.shape)}"
        )


def _check_temperature(value: PerModel) -> None:
    if not isinstance(value, Tensor) and not value > 0:
        raise ValueError(f"the temperature must be above 0, not {value}")
