"""Utilities behind a chooser's comparisons: fitted, asked for well, and tested for coherence.

Items are numbered; a comparison is an edge between two of them with the share of times that the first was chosen. A
chooser is trained towards given utilities by `preference_loss(logit, thurstone_prob(...)[first, second])`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rlx import check
from rlx.policy.link import link_loss, link_prob
from rlx.types import Array

RIDGE = 1e-5  # added to the variance of a difference
WIDER, ROUNDS = 1.5, 5  # factor and number of times that `select_edges` widens its shares


def thurstone_prob(mean: Array, variance: Array) -> Array:
    """The probability that each item is chosen over each other one, of normal utilities that are independent.

        P(i over j) = N((mean_i - mean_j) / sqrt(variance_i + variance_j))

    Shapes: `[..., N]` twice -> `[..., N, N]`; 1/2 on the diagonal. Differentiated: both.

    Usual mistake: one utility for all of an item's comparisons, where each draws afresh.

    >>> p = thurstone_prob(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))
    >>> round(float(p[0, 1]), 4), round(float(p[1, 0]), 4)
    (0.8413, 0.1587)

    Raises:
      ValueError: for shapes that differ, or a negative variance.

    Source: Thurstone, "A Law of Comparative Judgment" (1927).
    """
    check.same_shape(mean=mean, variance=variance)
    check.in_range("variance", variance, 0.0)
    mean, variance = jnp.asarray(mean), jnp.asarray(variance)
    pairs = (x[..., :, None] for x in (mean, variance)), (x[..., None, :] for x in (mean, variance))
    return link_prob(_logit(*pairs[0], *pairs[1]), "probit")


def thurstone_fit(
    first: Array,
    second: Array,
    prob: Array,
    num_items: int,
    weight: Array | None = None,
    *,
    learning_rate: Array | float = 0.01,
    steps: int = 1000,
) -> tuple[Array, Array, Array]:
    """Normal utilities under which comparisons are likely: means and variances of items, and the cross entropy.

        min  mean_e w_e [-p_e log P(i over j) - (1 - p_e) log P(j over i)]   with the probabilities of `thurstone_prob`

    by Adam, from means that say how often an item was chosen. Utilities are known up to shift and scale: means have
    mean 0 and standard deviation 1, variances their unit.

    Shapes: int `[E]`, int `[E]`, `[E]` in [0, 1], weights `[E]` (ones; 0 for an edge that was not asked) -> `[N]`,
    `[N]`, `[]`. Stopped: all. An item that was never compared stays near the mean, with variance near 1.

    Usual mistakes: shares from one order of presentation, where a chooser favours what it sees first; and utilities
    compared between groups of items with no edge in between, whose offset is arbitrary.

    >>> first, second = jnp.array([0, 1, 0]), jnp.array([1, 2, 2])
    >>> mean, variance, loss = thurstone_fit(first, second, jnp.array([0.9, 0.9, 0.99]), 3)
    >>> bool(mean[0] > mean[1] > mean[2])
    True

    Raises:
      ValueError: for shapes that differ, fewer than two items, or no step.

    Source: Mazeika et al., "Utility Engineering: Analyzing and Controlling Emergent Value Systems in AIs" (2025).
    """
    check.rank("first", first, 1)
    check.same_shape(first=first, second=second, prob=prob, **({} if weight is None else {"weight": weight}))
    check.in_range("prob", prob, 0.0, 1.0)
    check.count("num_items", num_items, 2)
    check.positive("learning_rate", learning_rate)
    check.count("steps", steps)
    dtype = jnp.result_type(prob, float)
    full = jnp.promote_types(dtype, jnp.float32)  # a thousand small steps have no half precision
    prob = jnp.asarray(prob, full)
    weight = jnp.ones_like(prob) if weight is None else jnp.asarray(weight, full)
    weight = weight / jnp.maximum(weight.sum(), 1e-12)
    optimiser = optax.adam(learning_rate)

    def utilities(params: tuple[Array, Array]) -> tuple[Array, Array]:
        mean = params[0] - params[0].mean()
        unit = jnp.mean(mean**2) + 1e-12
        return mean / jnp.sqrt(unit), jnp.exp(params[1]) / unit

    def loss(params: tuple[Array, Array]) -> Array:
        mean, variance = utilities(params)
        z = _logit(mean[first], variance[first], mean[second], variance[second])
        return jnp.sum(weight * (prob * link_loss(z, "probit") + (1 - prob) * link_loss(-z, "probit")))

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        change, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    chosen = jnp.zeros(num_items, full).at[first].add(weight * (prob - 0.5)).at[second].add(weight * (0.5 - prob))
    compared = jnp.zeros(num_items, full).at[first].add(weight).at[second].add(weight)
    share = chosen / jnp.where(compared > 0, compared, 1)
    params = share / (jnp.std(share) + 1e-6), jnp.zeros(num_items, full)
    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), length=steps)
    found = *utilities(params), loss(params)
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(dtype), found))


def select_edges(
    key: Array,
    mean: Array,
    degree: Array,
    asked: Array,
    num: int,
    *,
    gap_share: float = 0.1,
    degree_share: float = 0.2,
) -> tuple[Array, Array, Array]:
    """Pairs of items to compare next: such as are close in utility and were seldom compared.

    At random among the pairs not yet asked that belong to the `gap_share` of them closest in mean and to the
    `degree_share` with the fewest comparisons of either item. Where those are too few, both shares grow by a half, up
    to five times; what is still missing is drawn from all the others.

    Shapes: key, `[N]`, `[N]` (comparisons of each item so far), bool `[N, N]` (either triangle counts) -> int `[num]`,
    int `[num]`, bool `[num]`: the first item has the lower number; false where no pair was left. Stopped: all.

    Usual mistake: shares of a first fit to a handful of edges, which call items close that are only unknown: begin with
    a connected graph.

    >>> mean = jnp.array([0.0, 0.1, 5.0])
    >>> asked = jnp.zeros((3, 3), bool)
    >>> [x.tolist() for x in select_edges(jax.random.key(0), mean, jnp.zeros(3), asked, 1, gap_share=0.2)]
    [[0], [1], [True]]

    Raises:
      ValueError: for shapes that do not fit, shares outside (0, 1], or more pairs than there are.

    Source: Mazeika et al., "Utility Engineering: Analyzing and Controlling Emergent Value Systems in AIs" (2025).
    """
    check.rank("mean", mean, 1)
    check.same_shape(mean=mean, degree=degree)
    items = jnp.shape(mean)[0]
    check.require(jnp.shape(asked) == (items, items), "the shape of asked", jnp.shape(asked), f"{(items, items)}")
    for name, share in (("gap_share", gap_share), ("degree_share", degree_share)):
        check.in_range(name, share, 0.0, 1.0, open_low=True)
    first, second = np.triu_indices(items, 1)
    check.count("num", num)
    check.require(num <= len(first), "num", num, f"at most {len(first)}, the number of pairs")
    mean, degree, asked = (jnp.asarray(x) for x in (mean, degree, asked))
    free = ~(asked | asked.T)[first, second]

    def quantile(x: Array) -> Array:
        """The share of free pairs with less."""
        less = jnp.searchsorted(jnp.sort(jnp.where(free, x, jnp.inf)), x)
        return less / jnp.maximum(jnp.sum(free), 1)

    closeness = quantile(jnp.abs(mean[first] - mean[second])) / gap_share
    rarity = quantile(degree[first] + degree[second]) / degree_share
    needed = jnp.maximum(closeness, rarity)[None]  # by how much the shares must grow to hold the pair
    widths = WIDER ** jnp.arange(ROUNDS + 1.0)[:, None]
    held = (needed < widths) & free
    enough = held.sum(-1) >= num
    width = jnp.where(enough.any(), jnp.argmax(enough), ROUNDS)
    order = jax.random.uniform(key, free.shape) + ~held[width] + 2 * ~free
    chosen = jnp.argsort(order)[:num]
    return jnp.asarray(first)[chosen], jnp.asarray(second)[chosen], free[chosen]


def cycle_probability(prob: Array) -> Array:
    """The probability that choices among three items go round in a circle, on average over all triads.

        mean over a < b < c of  p_ab p_bc p_ca + p_ba p_cb p_ac

    0 for choices that follow an order, 1/4 for coin flips.

    Shapes: `[N, N]`, the probability that the row's item is chosen over the column's -> `[]`. Differentiated: `prob`.
    The diagonal does not count.

    Usual mistake: a noisy chooser called incoherent; compare with `thurstone_prob` of the fitted utilities.

    >>> float(cycle_probability(jnp.full((4, 4), 0.5)))
    0.25

    Raises:
      ValueError: unless `prob` is square with at least three items.

    Source: Mazeika et al., "Utility Engineering: Analyzing and Controlling Emergent Value Systems in AIs" (2025);
    Kendall and Babington Smith, "On the Method of Paired Comparisons" (1940).
    """
    shape = jnp.shape(prob)
    check.require(len(shape) == 2 and shape[0] == shape[1] >= 3, "the shape of prob", shape, "[N, N] with N >= 3")
    items = shape[0]
    prob = jnp.where(jnp.eye(items, dtype=bool), 0, prob)
    # the trace counts a circle once for each of its three items
    return jnp.sum((prob @ prob) * prob.T) / 3 / (items * (items - 1) * (items - 2) / 6)


def expected_utility_gap(utility: Array, lotteries: Array, lottery_utility: Array) -> tuple[Array, Array]:
    """How far the utilities of lotteries are from the expected utilities of what they may bring.

        mean_l |z(U_l) - z(sum_o p_lo u_o)|,  and the correlation of the two

    with z-scores over the lotteries, as either side is known up to shift and scale.

    Shapes: `[N]`, probabilities `[L, N]`, `[L]` -> `[]`, `[]`. Differentiated: `utility`, `lottery_utility`.

    Usual mistake: lotteries of nearly equal expected utility, whose z-scores are noise.

    >>> utility, lotteries = jnp.array([0.0, 1.0, 3.0]), jnp.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    >>> gap, correlation = expected_utility_gap(utility, lotteries, 2.0 * lotteries @ utility + 1.0)
    >>> round(float(gap), 4), round(float(correlation), 4)
    (0.0, 1.0)

    Raises:
      ValueError: for shapes that do not fit.

    Source: Mazeika et al., "Utility Engineering: Analyzing and Controlling Emergent Value Systems in AIs" (2025).
    """
    wanted = jnp.shape(lottery_utility) + jnp.shape(utility)
    fits = len(wanted) == 2 and jnp.shape(lotteries) == wanted
    check.require(fits, "the shape of lotteries", jnp.shape(lotteries), f"[L, N] = {wanted}")

    def z(x: Array) -> Array:
        x = x - x.mean()
        variance = jnp.mean(x**2)
        return x * jnp.where(variance > 0, jax.lax.rsqrt(jnp.where(variance > 0, variance, 1)), 0)

    found, expected = z(jnp.asarray(lottery_utility)), z(jnp.asarray(lotteries) @ jnp.asarray(utility))
    return jnp.mean(jnp.abs(found - expected)), jnp.mean(found * expected)


def _logit(mean: Array, variance: Array, other_mean: Array, other_variance: Array) -> Array:
    return (mean - other_mean) / jnp.sqrt(variance + other_variance + RIDGE)
