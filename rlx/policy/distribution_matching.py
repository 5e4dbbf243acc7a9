"""Policies that match a distribution given by its unnormalised density: one estimator for every f-divergence.

The target is `exp(log_target) / Z`: the reference r tilted by a reward, `log r + reward / beta`; r where a constraint
holds, `log r` or minus infinity; or r with given moments, `log r + lambda . feature` (`fit_gdc`).
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.policy.sequence import widened
from rlx.types import Array

FDivergence = Literal["forward_kl", "reverse_kl", "js", "tv", "chi2", "reverse_chi2"]
MAX_EXPONENT = 40.0  # exp(40) = 2e17: its square is finite in single precision
NEWTON_STEPS = 30
STEP_SIZES = 2.0 ** -np.arange(12)


def f_dpg_loss(
    log_prob: Array,
    log_target: Array,
    log_behaviour: Array,
    log_partition: Array | float,
    *,
    divergence: FDivergence = "js",
    baseline: Array | float = 0.0,
) -> Array:
    """A policy gradient whose reward is minus the derivative of an f-divergence from the target p to the policy.

        D = E_p f(policy / p),   t = Z policy / exp(log_target),   grad D = E_policy[f'(t) grad log policy]
        loss = policy / behaviour (f'(t) + baseline) log policy    with factors other than the last held constant

    - "forward_kl" (KL(p || policy), DPG and GDC): `-1 / t`
    - "reverse_kl" (KL(policy || p), the KL-regularised reward): `log t + 1`
    - "js" (Jensen and Shannon): `log(2 t / (1 + t))`
    - "tv" (total variation): `sign(log t) / 2`
    - "chi2" (of p from the policy): `1 - 1 / t^2`;  "reverse_chi2": `2 (t - 1)`

    `behaviour` is what sampled, the policy itself or any other that covers it, and `baseline` a mean of the rewards
    `-f'(t)`, which does not bias. `log_partition` is log Z, from the function of that name; "reverse_kl" alone does
    without (any number, with a baseline). All are computed from log t; exponents are cut at 40. Where the target is 0
    "reverse_kl" and "reverse_chi2" are infinite: give it a floor.

    Shapes: sums over the sequence `[...]` three times, the two numbers broadcast -> `[...]`. Differentiated:
    `log_prob`. The value means nothing, its gradient does.

    Usual mistakes: p / policy in place of policy / p; and an unnormalised target where Z matters.

    >>> args = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.8, 0.2])), jnp.log(jnp.array([0.5, 0.5]))
    >>> jax.grad(lambda x: f_dpg_loss(x, *args[1:], 0.0, divergence="tv").sum())(args[0]).tolist()
    [-0.5, 0.5]

    Raises:
      ValueError: for shapes that differ or an unknown divergence.

    Source: Go et al., "Aligning Language Models with Preferences through f-divergence Minimization" (2023); Khalifa et
    al., "A Distributional Approach to Controlled Text Generation" (2021).
    """
    check.require(divergence in get_args(FDivergence), "divergence", divergence, f"one of {get_args(FDivergence)}")
    check.same_shape(log_prob=log_prob, log_target=log_target, log_behaviour=log_behaviour)
    wide = widened(log_prob)
    now = jax.lax.stop_gradient(wide)
    target, behaviour, partition, baseline = (
        jax.lax.stop_gradient(jnp.asarray(x, wide.dtype)) for x in (log_target, log_behaviour, log_partition, baseline)
    )
    log_t = now - (target - partition)
    exp = lambda x: jnp.exp(jnp.minimum(x, MAX_EXPONENT))  # noqa: E731
    if divergence == "forward_kl":
        slope = -exp(-log_t)
    elif divergence == "reverse_kl":
        slope = log_t + 1
    elif divergence == "js":
        slope = jnp.log(2.0).astype(wide.dtype) + jax.nn.log_sigmoid(log_t)
    elif divergence == "tv":
        slope = jnp.sign(log_t) / 2
    elif divergence == "chi2":
        slope = 1 - exp(-2 * log_t)
    else:
        slope = 2 * (exp(log_t) - 1)
    return (exp(now - behaviour) * (slope + baseline) * wide).astype(jnp.result_type(log_prob))


def log_partition(log_target: Array, log_behaviour: Array) -> Array:
    """The log of what an unnormalised target sums to, `log mean_i exp(log_target_i - log_behaviour_i)`.

    By importance sampling: the mean, not its logarithm, is unbiased. Estimates of equal size combine as `log mean exp`.

    Shapes: `[..., N]` samples of `behaviour`, twice -> `[...]`. Differentiated: `log_target`.

    Usual mistake: a behaviour policy that misses most of the target; the estimate is then low with few exceptions.

    >>> round(float(log_partition(jnp.log(jnp.array([3.0, 1.0])), jnp.log(jnp.array([0.5, 0.5])))), 4)
    1.3863

    Raises:
      ValueError: for shapes that differ, or no samples.

    Source: Khalifa et al., "A Distributional Approach to Controlled Text Generation" (2021).
    """
    check.same_shape(log_target=log_target, log_behaviour=log_behaviour)
    fits = jnp.ndim(log_target) >= 1 and jnp.shape(log_target)[-1] > 0
    check.require(fits, "log_target", jnp.shape(log_target), "of shape [..., N] with N > 0")
    log_weight = widened(log_target) - jax.lax.stop_gradient(widened(log_behaviour))
    total = jax.nn.logsumexp(log_weight, axis=-1) - jnp.log(float(log_weight.shape[-1]))
    return total.astype(jnp.result_type(log_target))


def fit_gdc(feature: Array, moment: Array, log_weight: Array | None = None) -> Array:
    """The tilt under which a reference has given moments: generation with distributional control.

        E_tilted[feature] = moment,   tilted = r exp(lambda . feature) / Z

    lambda minimises the convex `log E_r exp(lambda . (feature - moment))`, here by Newton's method with step sizes
    searched, over samples of the reference with weights (none: equal ones). Among all distributions with these moments
    the tilted one is nearest to the reference in `KL(. || r)`.

    Shapes: `[N, F]`, `[F]`, `[N]` -> `[F]`. Nothing is differentiated.

    Usual mistake: a moment that no sample reaches, or a feature that is constant: there is then no lambda, or more than
    one. Compare the moments that it gives with those asked for.

    >>> feature = jnp.array([[0.0], [0.0], [0.0], [1.0]])  # a quarter has it; one half is asked for
    >>> round(float(fit_gdc(feature, jnp.array([0.5]))[0]), 3)  # log 3
    1.099

    Raises:
      ValueError: for shapes that do not fit.

    Source: Khalifa et al., "A Distributional Approach to Controlled Text Generation" (2021).
    """
    check.rank("feature", feature, 2)
    samples, size = jnp.shape(feature)
    check.require(jnp.shape(moment) == (size,), "moment", jnp.shape(moment), f"of shape {(size,)}")
    wide = widened(feature)
    dtype = jnp.result_type(feature) if jnp.issubdtype(jnp.result_type(feature), jnp.floating) else wide.dtype
    log_weight = jnp.zeros(samples, wide.dtype) if log_weight is None else jnp.asarray(log_weight, wide.dtype)
    check.require(log_weight.shape == (samples,), "log_weight", log_weight.shape, f"of shape {(samples,)}")
    excess, log_weight = jax.lax.stop_gradient((wide - jnp.asarray(moment, wide.dtype), log_weight))

    def objective(multiplier: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(log_weight + jnp.sum(excess * multiplier, axis=-1))

    def newton(_: int, multiplier: jax.Array) -> jax.Array:
        weight = jax.nn.softmax(log_weight + jnp.sum(excess * multiplier, axis=-1))
        mean = jnp.sum(weight[:, None] * excess, axis=0)
        centred = excess - mean
        spread = jnp.einsum("n,nf,ng->fg", weight, centred, centred, precision="highest")
        ridge = 1e-6 * jnp.trace(spread) / size + jnp.finfo(wide.dtype).tiny
        step = jnp.linalg.solve(spread + ridge * jnp.eye(size, dtype=wide.dtype), mean)
        tried = multiplier - jnp.asarray(STEP_SIZES, wide.dtype)[:, None] * step
        value = jax.vmap(objective)(tried)
        best = jnp.argmin(value)
        return jnp.where(value[best] < objective(multiplier), tried[best], multiplier)

    found = jax.lax.fori_loop(0, NEWTON_STEPS, newton, jnp.zeros(size, wide.dtype))
    return jax.lax.stop_gradient(found).astype(dtype)
