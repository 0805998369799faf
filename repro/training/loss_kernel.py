"""Kernel of the distillation loss: logits become their gradient while they are in the cache, compiled by numba.

It computes what ``kd.fused_loss`` computes with PyTorch's operations, exponentials to 1e-7 of their value. Sums are
over the same examples in the same order whatever the number of threads and of models.
"""

from functools import partial

import numpy as np
from numba import njit, prange

from repro.training.kernels import CHUNKS, compiled, rounded, widened

# For sums alone, which are vectors only if their order is free. Elsewhere, what is contracted would depend on the order
# in which numba happens to compile variables, and results on which process compiled the kernel.
OF_SUMS = {"contract", "reassoc"}

LOG2_E, ONE = np.float32(1.4426950408889634), np.float32(1)
# The polynomial of Cephes' exp2f: 2**x for x in [-0.5, 0.5], highest power first.
C6, C5, C4, C3, C2, C1 = (
    np.float32(c)
    for c in (1.535336188e-4, 1.339887440e-3, 9.618437358e-3, 5.550332471e-2, 2.402264791e-1, 6.931472029e-1)
)
SIGN_SHIFT, MAGNITUDE, EXPONENT_SHIFT, EXPONENT_BIAS = (np.int32(n) for n in (31, 0x7FFFFFFF, 23, 127))


@njit(fastmath=OF_SUMS)
def _exponentials(z, temperature):
    """Turn z into exp((z - max z) / T), in place; return the sum and the log of the sum of exp(z / T).

    With NaN or infinity in z, both are NaN.
    """
    bits, largest = z.view(np.int32), -MAGNITUDE
    for c in range(len(bits)):
        # Of integers in the order of the numbers: unlike that of floats, their maximum is computed in vectors.
        largest = max(largest, bits[c] ^ ((bits[c] >> SIGN_SHIFT) & MAGNITUDE))
    top = np.int32(largest ^ ((largest >> SIGN_SHIFT) & MAGNITUDE)).view(np.float32)
    scale, total = LOG2_E / temperature, np.float32(0)
    for c in range(len(z)):
        x = (z[c] - top) * scale
        x = np.float32(-126) if x < np.float32(-126) else x  # NaN stays NaN
        n = np.int32(x - np.float32(0.5))
        f = x - np.float32(n)
        power = (((((C6 * f + C5) * f + C4) * f + C3) * f + C2) * f + C1) * f + ONE
        z[c] = power * np.int32((n + EXPONENT_BIAS) << EXPONENT_SHIFT).view(np.float32)
        total += z[c]
    return total, np.log(total) + top / temperature


@njit(fastmath=OF_SUMS)
def _dot(a, b):
    total = np.float32(0)
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@partial(compiled, fastmath=False)
def gradient(logits, biases, labels, teachers, targets, target_of, objectives, results):
    """Turn logits into the gradient of the distillation loss, averaged over the batch, in place.

    Args:
        logits: logits without their biases, (model, batch, class), or longer rows; the gradient afterwards.
        biases: biases in fp32, (model, class).
        labels: classes, (batch,).
        teachers: logits of the teachers in fp32, (teacher, batch, class).
        targets: one model that learns from each distinct distribution of soft targets, (target,).
        target_of: teacher and distribution of each model, (model, 2).
        objectives: T and weight of the loss on hard targets of each model, (model, 2), in fp32.
        results: memory in fp32 for the losses, (model, batch), and for the gradient's sums over parts of the batch,
            (model, CHUNKS, class).
    """
    losses, sums = results
    models, batch, _ = logits.shape
    classes = biases.shape[1]
    mean = ONE / np.float32(batch)
    for chunk in prange(CHUNKS):
        p, negative_entropy = np.empty((len(targets), classes), np.float32), np.empty(len(targets), np.float32)
        z, hard_z = np.empty(classes, np.float32), np.empty(classes, np.float32)
        sums[:, chunk] = 0
        for row in range(batch * chunk // CHUNKS, batch * (chunk + 1) // CHUNKS):
            label = labels[row]
            for number, model in enumerate(targets):
                teacher, t = teachers[target_of[model, 0], row], objectives[model, 0]
                p[number] = teacher
                total, log_sum = _exponentials(p[number], t)
                p[number] *= ONE / total
                negative_entropy[number] = _dot(p[number], teacher) / t - log_sum
            for model in range(models):
                output, sum_ = logits[model, row], sums[model, chunk]
                t, hard = objectives[model, 0], objectives[model, 1]
                soft = ONE - hard
                for c in range(classes):
                    z[c] = widened(output[c]) + biases[model, c]
                loss, scale = -hard * z[label], ONE
                if soft != 0:
                    number = target_of[model, 1]
                    loss += soft * t * t * (negative_entropy[number] - _dot(p[number], z) / t)
                if soft == 0:
                    total, log_sum = _exponentials(z, ONE)
                    loss += hard * log_sum
                    scale = hard * mean / total
                elif hard == 0 or t == 1:
                    total, log_sum = _exponentials(z, t)
                    loss += (soft * t * t + hard) * log_sum
                    a, b = (soft * t + hard) * mean / total, soft * t * mean
                    for c in range(classes):
                        z[c] = a * z[c] - b * p[number, c]
                else:
                    hard_z[:] = z
                    total, log_sum = _exponentials(z, t)
                    hard_total, hard_log_sum = _exponentials(hard_z, ONE)
                    loss += soft * t * t * log_sum + hard * hard_log_sum
                    a, b, d = soft * t * mean / total, soft * t * mean, hard * mean / hard_total
                    for c in range(classes):
                        z[c] = a * z[c] - b * p[number, c] + d * hard_z[c]
                losses[model, row] = loss
                for c in range(classes):
                    g = scale * z[c]
                    sum_[c] += g
                    output[c] = rounded(g, output)
                sum_[label] -= hard * mean
                output[label] = rounded(scale * z[label] - hard * mean, output)
