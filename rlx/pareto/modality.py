"""Which sensor or head a fused output owes what, and gradients that let the weaker ones catch up."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array

MODALITIES = 4  # at most: outputs are needed for each subset


def shapley_modality(outputs: Array) -> Array:
    """Each modality's part of an output: the Shapley value of the game whose players are the modalities.

        phi_u = sum_{S without u} |S|! (n - |S| - 1)! / n! (f(S and u) - f(S)),   sum_u phi_u = f(all) - f(none)

    Row `s` of the outputs is `f` with modality `u` present where bit `u` of `s` is set, and zero or another neutral
    input in place of the others: for two modalities `f(0, 0), f(a, 0), f(0, v), f(a, v)`.

    Shapes: `[2^n, ...]`, `n <= 4` -> `[n, ...]`. Differentiated: all; it is linear.

    Usual mistakes: the parts' sum taken for the output, which lacks `f(none)`; and passes without a modality that
    update statistics of a normalisation layer.

    >>> shapley_modality(jnp.array([1.0, 3.0, 2.0, 8.0])).tolist()
    [4.0, 3.0]

    Raises:
      ValueError: unless the first axis has 2, 4, 8 or 16 entries.

    Source: Shapley, "A Value for n-Person Games" (1953); Li et al., "Boosting Multi-modal Model Performance with
    Adaptive Gradient Modulation" (2023) for two modalities.
    """
    subsets = jnp.shape(outputs)[0] if jnp.ndim(outputs) else 0
    n = subsets.bit_length() - 1
    check.require(0 < n <= MODALITIES and subsets == 2**n, "outputs", jnp.shape(outputs), "of shape [2^n, ...], n <= 4")
    weights = np.zeros((n, subsets))
    for subset in range(subsets):
        size = subset.bit_count()
        for u in range(n):
            if subset >> u & 1:
                weights[u, subset] = math.factorial(size - 1) * math.factorial(n - size) / math.factorial(n)
            else:
                weights[u, subset] = -math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
    outputs = jnp.asarray(outputs)
    return jnp.tensordot(jnp.asarray(weights, outputs.dtype), outputs, 1, precision="highest")


def agm_coefficients(score: Array, average: Array, alpha: Array | float = 1.0) -> Array:
    """Adaptive gradient modulation: factors below one for modalities that are further ahead than they usually are.

        kappa_u = exp(alpha (tau_u - r_u)),   r_u = exp(mean_{v != u} s_v - s_u),   tau_u the same of the averages

    Shapes: `[n]`, `[n]`, scalar -> `[n]`. Stopped: all. `s_u` is the loss of a modality's own part (the mean cross
    entropy of `softmax(phi_u)`), lower where it is better; `average` is the mean of the scores of all steps so far.
    `alpha = 0` changes nothing. Exponents are clipped to 5 in ratios, to 3 in the factor.

    Usual mistakes: accuracies for scores, which turns it round, and the expectation that a lasting lead is held back: a
    lead as large as its average has the factor one. With more than two modalities the mean over the others is ours.

    >>> score, average = jnp.array([0.5, 1.5]), jnp.array([1.0, 1.5])
    >>> [round(float(k), 4) for k in agm_coefficients(score, average)]
    [0.3432, 1.2695]

    Raises:
      ValueError: for shapes that differ, fewer than two modalities, or a negative alpha.

    Source: Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation" (2023).
    """
    check.rank("score", score, 1)
    check.same_shape(score=score, average=average)
    n = jnp.shape(score)[0]
    check.require(n > 1, "score", jnp.shape(score), "of at least two modalities")
    check.in_range("alpha", alpha, 0.0)

    def lead(s: Array) -> Array:
        s = jnp.asarray(s)
        return jnp.exp(jnp.clip((s.sum() - s) / (n - 1) - s, -5.0, 5.0))

    return jax.lax.stop_gradient(jnp.exp(jnp.clip(alpha * (lead(average) - lead(score)), -3.0, 3.0)))


def scale_cotangent(x: Array, scale: Array | float) -> Array:
    """The identity, whose derivative is `scale`: what flows back through it is multiplied, values are not changed.

    Shapes: `[...]`, and one that broadcasts to it -> `[...]`. Differentiated: `x`; `scale` gets nothing.

    For modulated training put it on the parts of an output: the loss of `scale_cotangent(phi_a, kappa_a) +
    scale_cotangent(phi_v, kappa_v) + f(none)` has the ordinary value, and with factors of one the ordinary gradient.

    >>> value, grad = jax.value_and_grad(lambda x: scale_cotangent(x, 0.5) ** 2)(3.0)
    >>> float(value), float(grad)
    (9.0, 3.0)

    Raises:
      ValueError: if `scale` does not broadcast to the shape of `x`.

    Source: Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation" (2023); as a reversal,
    Ganin et al., "Domain-Adversarial Training of Neural Networks" (2016).
    """
    shape, allowed = jnp.shape(x), f"of a shape that broadcasts to that of x, {jnp.shape(x)}"
    aligned = zip(reversed(jnp.shape(scale)), reversed(shape), strict=False)
    fits = jnp.ndim(scale) <= len(shape) and all(n in (1, m) for n, m in aligned)
    check.require(fits, "scale", jnp.shape(scale), allowed)
    return _scale_cotangent(jnp.asarray(x), scale)


@jax.custom_jvp
def _scale_cotangent(x: Array, scale: Array | float) -> Array:
    del scale
    return x


@_scale_cotangent.defjvp
def _scale_cotangent_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, scale), (tangent, _) = primals, tangents
    return x, (scale * tangent).astype(x.dtype)
