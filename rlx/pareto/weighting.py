"""Weightings of reward channels: fixed, from the Gram matrix of their gradients, or from their recent history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.archive import archive_insert
from rlx.pareto.front import as_front, match_objectives
from rlx.pareto.indicators import hypervolume_contributions
from rlx.types import Array, Front, PyTree, Weighting, WeightingStats


def gradient_influence(gram: Array) -> Array:
    """How much a step along all objectives' gradients improves each: `s_i = g_i . sum_j g_j`, a row sum of `M = G G^T`.

    Shapes: `[K, K]` -> `[K]`. Stopped: all. The objective's own squared norm is part of it.

    Usual mistake: one noisy batch, which adds its noise's variance to the diagonal. Two halves of it, `(G_1 G_2^T + G_2
    G_1^T) / 2`, do not.

    >>> gradient_influence(jnp.array([[1.0, -1.0], [-1.0, 4.0]])).tolist()
    [0.0, 3.0]

    Raises:
      ValueError: unless `gram` is a square matrix.

    Source: Lu et al., "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting" (2025).
    """
    check.rank("gram", gram, 2)
    check.require(jnp.shape(gram)[0] == jnp.shape(gram)[1], "gram", jnp.shape(gram), "a square matrix [K, K]")
    return jax.lax.stop_gradient(jnp.sum(gram, 1))


def exponentiated_gradient_update(
    weights: Array, score: Array, step_size: Array | float, *, floor: Array | float = 0.0
) -> Array:
    """A multiplicative step on the simplex: `w <- softmax(log w + step_size * score)`, then mixed with the floor.

    With a floor `f` no weight falls below it: `w <- f + (1 - K f) w`. Without, a weight of zero stays zero.

    Shapes: `[K]`, `[K]`, scalars -> `[K]`, summing to one. Stopped: all. Equal scores change nothing; the scores'
    *differences* times the step size are log ratios, so a step size belongs to a scale of gradients.

    Usual mistake: trust in the final weights. They run from objective to objective and collapse on the one that still
    improves: keep an archive of policies, or a floor.

    >>> weights = exponentiated_gradient_update(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0]), jnp.log(3.0))
    >>> [round(float(w), 4) for w in weights]
    [0.75, 0.25]

    Raises:
      ValueError: for shapes that differ, negative weights, or a floor outside [0, 1 / K].

    Source: Kivinen and Warmuth, "Exponentiated Gradient versus Gradient Descent for Linear Predictors" (1997); Lu et
    al., "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting" (2025).
    """
    check.rank("weights", weights, 1)
    check.same_shape(weights=weights, score=score)
    check.in_range("weights", weights, 0.0)
    size = jnp.shape(weights)[0]
    check.in_range("floor", floor, 0.0, 1.0 / size)
    updated = jax.nn.softmax(jnp.log(jnp.asarray(weights)) + step_size * score)
    return jax.lax.stop_gradient(floor + (1.0 - size * floor) * updated)


def recap_weights(
    history: Array,
    temperature: Array | float = 5.0,
    convergence: Array | float = 0.5,
    instability: Array | float = 0.5,
    *,
    signal: Literal["loss", "reward"] = "loss",
) -> Array:
    """RECAP: more weight for objectives that progress less and vary more, compared over two windows of time.

        w = K softmax((convergence c + instability i) / temperature)
        c = mu / mu_0  (loss)  or  mu_0 / mu  (reward),   i = sigma / (mu + mu_0)

    `mu` and `sigma` are mean and standard deviation over the last half of the history, `mu_0` the mean over the first.

    Shapes: `[2 W, K]`, oldest first, values not negative; scalars -> `[K]`, summing to `K`. Stopped: all.

    `convergence = 1, instability = 0, temperature = 2` with two rows of losses is Dynamic Weight Averaging; the paper
    has coefficients of one, its code one half each. The published rule takes whatever signal is given as a loss: of a
    *reward* it then weighs least what is being forgotten. "reward" turns that round, and is ours.

    Usual mistakes: a signal near zero or of either sign, whose ratios mean nothing (a loss that has converged to zero
    counts as unstable; add a floor to it), and the expectation of a large effect: with the default temperature weights
    stay within about a tenth of one.

    >>> [round(float(w), 4) for w in recap_weights(jnp.array([[1.0, 1.0], [1.0, 0.5]]), 1.0, 1.0, 0.0)]
    [1.2449, 0.7551]

    Raises:
      ValueError: unless the history has an even number of rows and no negative value, for a temperature that is not
        positive, or an unknown signal.

    Source: Phan et al., "Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning Models"
    (2025); Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention" (2019) for averaging.
    """
    check.rank("history", history, 2)
    rows, size = jnp.shape(history)
    check.require(rows >= 2 and rows % 2 == 0, "history", jnp.shape(history), "of shape [2 W, K]")
    check.in_range("history", history, 0.0)
    check.positive("temperature", temperature)
    check.require(signal in ("loss", "reward"), "signal", signal, "'loss' or 'reward'")
    before, after = jnp.asarray(history)[: rows // 2], jnp.asarray(history)[rows // 2 :]
    # Two means of zero count as equal.
    mean, mean_before = after.mean(0) + 1e-8, before.mean(0) + 1e-8
    ratio = mean / mean_before if signal == "loss" else mean_before / mean
    score = convergence * ratio + instability * after.std(0) / (mean + mean_before)
    return jax.lax.stop_gradient(size * jax.nn.softmax(score / temperature))


def hypervolume_scale(
    archive: Front,
    point: Array,
    ref: Array,
    *,
    low: Array | float = 0.5,
    high: Array | float = 2.0,
    unit: Array | float = 1.0,
) -> Array:
    """A factor for rewards or steps that is larger the more a policy's returns add to those already found.

        low + (high - low) tanh(gain / unit),   gain = HV(archive and point) - HV(archive)

    Shapes: `Front` of C rows, `[m]`, `[m]`, scalars -> `[]`. Stopped: all. `low` where the point is dominated. The
    published factor has the unit 1: of a hypervolume of at most 1, as for rewards in [0, 1], a gain per step is so
    small that it is `low` throughout. A unit is the gain that counts as a large one.

    Usual mistakes: costs that were not negated; and a factor on rewards whose advantages are divided by their deviation
    afterwards, which takes a factor that all rewards share out again: put it on the normalised advantage.

    >>> archive = Front(jnp.array([[2.0, 1.0], [0.0, 0.0]]), jnp.array([True, False]))
    >>> [round(float(hypervolume_scale(archive, jnp.array(x), jnp.zeros(2))), 4) for x in ([1.0, 1.0], [1.0, 2.0])]
    [0.5, 1.6424]

    Raises:
      ValueError: unless point and ref are vectors with an entry for each of the archive's objectives, `low <= high`,
        and the unit is positive.

    Source: Lu et al., "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting" (2025).
    """
    points, valid = as_front(*archive, name="archive")
    check.rank("point", point, 1)
    match_objectives("point", point, points)
    check.in_range("high - low", jnp.subtract(high, low), 0.0)
    check.positive("unit", unit)
    together = jnp.concatenate([points, jnp.asarray(point)[None]])
    gain = hypervolume_contributions(together, ref, jnp.append(valid, True))[-1]
    return jax.lax.stop_gradient(low + (high - low) * jnp.tanh(gain / unit))


def linear(weights: Array | tuple[float, ...]) -> Weighting:
    """Fixed weights `[K]`: the advantage is `sum_k weights_k advantage_k`. They may be traced, and swept.

    Raises:
      ValueError: if `weights` is not a vector of finite numbers, or (in `init`) not one for each channel.
    """
    check.rank("weights", weights, 1)
    check.in_range("weights", weights)
    fixed = jnp.asarray(weights, jnp.float32)

    def init(num_channels: int) -> tuple[()]:
        _check_channels(fixed, num_channels)
        return ()

    return Weighting(init, lambda state, stats: (fixed, state, {}))


class UtilityState(NamedTuple):
    """State of `utility_gradient`."""

    average: Array  # [K] of returns, with the weight of its initial zero still in it
    updates: Array  # [] how many of those it holds
    parameters: PyTree  # of the utility; to give a learner another task, replace them


def utility_gradient(
    utility: Callable[[Array, PyTree], Array], parameters: PyTree = (), *, decay: Array | float = 0.0
) -> Weighting:
    """Weights that improve a utility of the mean returns: its gradient `du/dv_k (J; parameters)`, at each batch.

    By the chain rule the policy gradient of `u(J)` is that of `sum_k du/dv_k(J) J_k` with the factors held fixed
    (`ser_advantage`). A scalarisation, a barrier around a constraint and a fixed weight vector (`u = w . v`) are all
    utilities. The parameters are part of the state, so learners of one population can have different ones.

    Args:
      utility: of the mean undiscounted episode returns `[K]` and the parameters; a scalar, larger is better.
      parameters: any pytree.
      decay: of the average of the returns, for each batch in which an episode ended. Batches without change nothing;
        before the first the returns count as zero.

    Usual mistake: a utility whose gradient at zero returns is zero or infinite, which the first weights then are.

    Raises:
      ValueError: for a decay outside [0, 1).

    Source: Roijers et al., "A Survey of Multi-Objective Sequential Decision-Making" (2013) for the criterion.
    """
    check.in_range("decay", decay, 0.0, 1.0, open_high=True)

    def init(num_channels: int) -> UtilityState:
        return UtilityState(jnp.zeros(num_channels), jnp.zeros(()), jax.tree.map(jnp.asarray, parameters))

    def update(state: UtilityState, stats: WeightingStats) -> tuple[Array, UtilityState, dict[str, Any]]:
        seen = stats.episodes > 0
        average = jnp.where(seen, decay * state.average + (1.0 - decay) * stats.returns, state.average)
        state = state._replace(average=average, updates=state.updates + seen)
        bias = 1.0 - jnp.asarray(decay) ** state.updates
        value, weights = jax.value_and_grad(utility)(average / jnp.where(bias > 0, bias, 1.0), state.parameters)
        return weights, state, {"utility": value}

    return Weighting(init, update)


class GramState(NamedTuple):
    """State of `from_gram`."""

    average: Array  # [K, K], with the weight of its initial zero still in it
    steps: Array  # []


def from_gram(rule: Callable[[Array], Array], *, decay: Array | float = 0.0, normalise: bool = False) -> Weighting:
    """Weights of a gradient combination (`min_norm_weights`, `cagrad_weights`, `nash_mtl_weights`) at each batch.

    The rule sees a moving average of the Gram matrix of the channels' policy gradients, without bias at the start.

    Args:
      rule: from the Gram matrix `[K, K]` to weights `[K]`; bind other arguments with `functools.partial`.
      decay: of the average, for each batch; policy gradients are noisy, and 0 uses the batch alone.
      normalise: combine gradients of unit norm, for channels without a common scale.

    Usual mistake: a weighting of *gradients* for channels whose weights are a preference: these rules have none.

    Raises:
      ValueError: for a decay outside [0, 1); what the rule raises.

    Source: Désidéri, "Multiple-Gradient Descent Algorithm (MGDA) for Multiobjective Optimization" (2012).
    """
    check.in_range("decay", decay, 0.0, 1.0, open_high=True)

    def init(num_channels: int) -> GramState:
        return GramState(jnp.zeros((num_channels, num_channels)), jnp.zeros(()))

    def update(state: GramState, stats: WeightingStats) -> tuple[Array, GramState, dict[str, Any]]:
        state = GramState(decay * state.average + (1.0 - decay) * _gram_of(stats), state.steps + 1.0)
        gram = state.average / (1.0 - jnp.asarray(decay) ** state.steps)
        norms = jnp.where(jnp.diag(gram) > 0, jnp.sqrt(jnp.diag(gram)), 1.0) if normalise else jnp.ones(gram.shape[0])
        weights = rule(gram / norms[:, None] / norms) / norms
        return weights, state, {}

    return Weighting(init, update, needs_gram=True)


def exponentiated_gradient(
    weights: Array | tuple[float, ...], step_size: Array | float = 0.1, *, floor: Array | float = 0.0
) -> Weighting:
    """Channels whose gradients agree with the sum of all gain weight: `exponentiated_gradient_update` at each batch.

    The score is `gradient_influence`. The paper's step size is the ratio of two learning rates, 0.1, for gradients of
    normalised advantages; scores grow with the square of the gradients.

    Args:
      weights: at the start, not negative; they are divided by their sum.
      step_size: log ratio of two weights per batch and unit of difference in influence.
      floor: the least weight, in [0, 1 / K].

    Raises:
      ValueError: for weights that are not a vector of non-negative numbers with a positive sum, or (in `init`) not one
        for each channel; for a floor outside [0, 1 / K].

    Source: Lu et al., "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting" (2025).
    """
    check.rank("weights", weights, 1)
    check.in_range("weights", weights, 0.0)
    start = jnp.asarray(weights, jnp.float32)
    check.positive("sum of weights", start.sum())
    check.in_range("floor", floor, 0.0, 1.0 / start.size)

    def init(num_channels: int) -> Array:
        _check_channels(start, num_channels)
        return start / start.sum()

    def update(state: Array, stats: WeightingStats) -> tuple[Array, Array, dict[str, Any]]:
        state = exponentiated_gradient_update(state, gradient_influence(_gram_of(stats)), step_size, floor=floor)
        return state, state, {}

    return Weighting(init, update, needs_gram=True)


class RecapState(NamedTuple):
    """State of `recap`."""

    history: Array  # [2 W, K], oldest first
    seen: Array  # [] how many of its rows are filled


def recap(
    window: int = 10,
    *,
    temperature: Array | float = 5.0,
    convergence: Array | float = 0.5,
    instability: Array | float = 0.5,
    signal: Literal["loss", "reward"] = "reward",
) -> Weighting:
    """Weights of `recap_weights` from the channels' mean episode returns, which must not be negative; their sum is `K`.

    Ones until `2 window` batches with a finished episode have passed; batches without one change nothing. Parameters
    are those of `recap_weights`, "loss" being the published reading.

    Raises:
      ValueError: for a window below one, a temperature that is not positive, or (in `update`) an unknown signal.

    Source: Phan et al., "Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning Models"
    (2025).
    """
    check.count("window", window)
    check.positive("temperature", temperature)

    def init(num_channels: int) -> RecapState:
        return RecapState(jnp.zeros((2 * window, num_channels)), jnp.zeros((), jnp.int32))

    def update(state: RecapState, stats: WeightingStats) -> tuple[Array, RecapState, dict[str, Any]]:
        longer = RecapState(jnp.concatenate([state.history[1:], stats.returns[None]]), state.seen + 1)
        state = jax.tree.map(lambda new, old: jnp.where(stats.episodes > 0, new, old), longer, state)
        weights = recap_weights(state.history, temperature, convergence, instability, signal=signal)
        weights = jnp.where(state.seen >= 2 * window, weights, 1.0)
        return weights, state, {}

    return Weighting(init, update)


class HypervolumeState(NamedTuple):
    """State of `hypervolume_guided`."""

    archive: Front  # the channels' returns of the best policies so far
    ref: Array  # [K]
    scale: Array  # []
    started: Array  # bool []: an episode has ended


def hypervolume_guided(
    weights: Array | tuple[float, ...],
    ref: Array | tuple[float, ...] | None = None,
    *,
    capacity: int = 64,
    low: Array | float = 0.5,
    high: Array | float = 2.0,
    unit: Array | float = 1.0,
) -> Weighting:
    """Fixed weights times `hypervolume_scale` of the channels' mean episode returns: larger steps on a growing front.

    The scale is one until an episode has ended, and changes only with batches in which one does. The metric `scale`
    is also the sum of the weights given, if those asked for sum to one.

    PPO with `normalise_advantage` divides the combined advantage by its deviation, so that this weighting is `linear`
    there: switch that off, or put the metric on the learning rate or the normalised advantage. Adam takes out the part
    of the scale that lasts longer than its averages. What is left is a step size between `low` and `high` that does not
    change the balance of the objectives, whatever the archive holds.

    Args:
      weights: the preference.
      ref: reference point of the hypervolume; by default the returns of the first batch with an episode.
      capacity: of the archive of returns.
      low, high, unit: see `hypervolume_scale`.

    >>> weighting = hypervolume_guided((0.5, 0.5), (0.0, 0.0))
    >>> state, stats = weighting.init(2), WeightingStats(jnp.array([1.0, 2.0]), jnp.array(3.0), None)
    >>> weights, state, _ = weighting.update(state, stats)
    >>> [round(float(w), 4) for w in weights], [float(w) for w in weighting.update(state, stats)[0]]
    ([0.973, 0.973], [0.25, 0.25])

    Raises:
      ValueError: for weights or a `ref` that are not vectors of finite numbers, or (in `init`) not with one for each
        channel; a capacity below one; what `hypervolume_scale` raises.

    Source: Lu et al., "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting" (2025).
    """
    fixed = linear(weights)
    if ref is not None:
        check.rank("ref", ref, 1)
        check.in_range("ref", ref)
    check.count("capacity", capacity)

    def init(num_channels: int) -> HypervolumeState:
        fixed.init(num_channels)
        empty = Front(jnp.zeros((capacity, num_channels)), jnp.zeros(capacity, bool))
        start = jnp.zeros(num_channels) if ref is None else jnp.asarray(ref, jnp.float32)
        check.require(start.shape == (num_channels,), "ref", ref, f"one number for each of {num_channels} channels")
        return HypervolumeState(empty, start, jnp.ones(()), jnp.array(False))

    def update(state: HypervolumeState, stats: WeightingStats) -> tuple[Array, HypervolumeState, dict[str, Any]]:
        first = ~state.started & (ref is None)
        base = jnp.where(first, stats.returns, state.ref)
        scale = hypervolume_scale(state.archive, stats.returns, base, low=low, high=high, unit=unit)
        archive, _ = archive_insert(state.archive, stats.returns[None], ref=base)
        new = HypervolumeState(archive, base, jnp.where(first, 1.0, scale), jnp.array(True))
        state = jax.tree.map(lambda new, old: jnp.where(stats.episodes > 0, new, old), new, state)
        weights, _, _ = fixed.update((), stats)
        return weights * state.scale, state, {"scale": state.scale}

    return Weighting(init, update)


def _gram_of(stats: WeightingStats) -> Array:
    if stats.gram is None:
        raise ValueError("stats.gram must be given, as `needs_gram` asks; got None")
    return stats.gram


def _check_channels(weights: Array, num_channels: int) -> None:
    allowed = f"one number for each of {num_channels} channels"
    check.require(weights.shape == (num_channels,), "weights", weights, allowed)
