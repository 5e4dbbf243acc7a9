"""Several reward models as one: cautious aggregates, models that state their doubt, extrapolation of weights."""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree

Aggregate = Literal["mean", "worst_case", "uncertainty_weighted", "lower_bound", "entropic"]


def ensemble_reward(reward: Array, how: Aggregate = "mean", caution: Array | float = 0.5) -> Array:
    """One reward from those of `M` models, lower where they disagree.

    - "mean": `mean_m r_m`.
    - "worst_case": `min_m r_m`.
    - "uncertainty_weighted": `mean_m r_m - c var_m r_m`.
    - "lower_bound": `mean_m r_m - c std_m r_m`.
    - "entropic": `-log mean_m exp(-2 c r_m) / (2 c)`, which is the mean for small `c`, the worst case for large `c`,
      and "uncertainty_weighted" up to third moments in between.

    `c` is `caution`; variance and deviation are those of the population (divided by M).

    Shapes: `[M, ...]`, `caution` broadcasts to `[...]` -> `[...]`. Differentiated: `reward`.

    Usual mistakes: members on scales of their own. A preference fixes a reward up to a constant only: standardise each
    member on samples of the reference first. And the same `c` with variances divided by M - 1, a larger penalty.

    >>> reward = jnp.array([[1.0, 3.0], [1.0, 1.0]])
    >>> [ensemble_reward(reward, how).tolist() for how in ("mean", "worst_case", "uncertainty_weighted")]
    [[1.0, 2.0], [1.0, 1.0], [1.0, 1.5]]

    Raises:
      ValueError: for an unknown `how`, no axis of members, a negative caution, or one of 0 for "entropic".

    Source: Coste et al., "Reward Model Ensembles Help Mitigate Overoptimization" (2024); "entropic" is the usual risk
    measure.
    """
    check.require(how in get_args(Aggregate), "how", how, f"one of {get_args(Aggregate)}")
    check.in_range("caution", caution, 0.0, open_low=how == "entropic")
    reward = jnp.asarray(reward)
    check.require(reward.ndim > 0, "reward", reward.shape, "of shape [M, ...]")
    caution = jax.lax.stop_gradient(jnp.asarray(caution, reward.dtype))
    if how == "worst_case":
        return jnp.min(reward, axis=0)
    mean = jnp.mean(reward, axis=0)
    if how == "mean":
        return mean
    if how == "entropic":
        members = jnp.log(jnp.asarray(reward.shape[0], reward.dtype))
        return (members - jax.nn.logsumexp(-2 * caution * reward, axis=0)) / (2 * caution)
    variance = jnp.mean(jnp.square(reward - mean), axis=0)
    if how == "uncertainty_weighted":
        return mean - caution * variance
    return mean - caution * jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


def brme_reward(mean: Array, std: Array, nominal: Array | float = 0.6) -> Array:
    """A mix of what the most confident of `M` heads says and of what the lowest one says.

    `nominal r_k + (1 - nominal) min_m r_m`, where head k states the smallest deviation for the sample

    `nominal = 1` trusts the most confident head, 0 is the worst case; the paper's small weights of the robust part, 0.2
    to 0.4, are nominal ones of 0.8 to 0.6.

    Shapes: `[M, ...]`, `[M, ...]`, `nominal` broadcasts -> `[...]`. Differentiated: `mean`. Equal deviations: the first
    head.

    Usual mistake: deviations that have collapsed to zero, as a squared error lets them, so that the head chosen means
    nothing: train the heads on different data, and look at the deviations.

    >>> mean, std = jnp.array([[2.0], [1.0], [0.0]]), jnp.array([[0.1], [0.5], [0.9]])
    >>> float(brme_reward(mean, std, 0.75)[0])
    1.5

    Raises:
      ValueError: for shapes that differ or have no axis of heads, or `nominal` outside [0, 1].

    Source: Yan et al., "Reward-Robust RLHF in LLMs" (2024), whose descriptions differ in which part the weight is of.
    """
    check.same_shape(mean=mean, std=std)
    check.in_range("nominal", nominal, 0.0, 1.0)
    mean, std = jnp.asarray(mean), jax.lax.stop_gradient(jnp.asarray(std))
    check.require(mean.ndim > 0, "mean", mean.shape, "of shape [M, ...]")
    nominal = jax.lax.stop_gradient(jnp.asarray(nominal, mean.dtype))
    confident = jnp.take_along_axis(mean, jnp.argmin(std, axis=0)[None], axis=0)[0]
    return nominal * confident + (1 - nominal) * jnp.min(mean, axis=0)


def brme_loss(mean: Array, std: Array, target: Array) -> Array:
    """The expected squared error of a reward drawn from a head's normal distribution: `(mean - target)^2 + std^2`.

    It is what sampling `mean + std * noise` estimates, without the noise. The target is the reward of a model trained
    on preferences, which the heads are fitted to on data of their own.

    Shapes: all `[...]` -> `[...]`. Differentiated: `mean` and `std`.

    Usual mistake: to read `std` as a calibrated error. Nothing here holds it up but how fast it falls.

    >>> brme_loss(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.0])).tolist()
    [5.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Yan et al., "Reward-Robust RLHF in LLMs" (2024); the target is inferred from its description.
    """
    check.same_shape(mean=mean, std=std, target=target)
    mean, std, target = jnp.asarray(mean), jnp.asarray(std), jax.lax.stop_gradient(jnp.asarray(target))
    return jnp.square(mean - target) + jnp.square(std)


def extrapolate(start: PyTree, end: PyTree, factor: Array | float) -> PyTree:
    """Parameters beyond a training's end, on the line from its start: `end + factor (end - start)`.

    `factor = 0` is the end, -1 the start, and -1/2 their average.

    Shapes: two pytrees of equal structure -> another one. Differentiated: everything.

    Usual mistake: a start from another initialisation, which lies on no line with the end.

    >>> extrapolate({"w": jnp.array([0.0, 1.0])}, {"w": jnp.array([1.0, 1.0])}, 0.5)["w"].tolist()
    [1.5, 1.0]

    Raises:
      ValueError: for structures or shapes that differ.

    Source: Zheng et al., "Model Extrapolation Expedites Alignment" (2025), used by Wang et al., "HelpSteer2-Preference:
    Complementing Ratings with Preferences" (2025).
    """

    def beyond(start: Array, end: Array) -> Array:
        check.same_shape(start=start, end=end)
        start, end = jnp.asarray(start), jnp.asarray(end)
        return end + jnp.asarray(factor, end.dtype) * (end - start)

    return jax.tree.map(beyond, start, end)
