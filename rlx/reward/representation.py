"""Features to build rewards on: from similarity, from what leads to a goal, from two views; and distances in them.

The encoder belongs to the caller. A latent user's divergence from its prior is `rlx.policy.gaussian_kl`, and the
queries that tell most about the user are those of `query_score` with samples of the latent as members.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.pareto.scalarise import safe_norm
from rlx.types import Array

_ORDER = np.array([[0, 1, 2], [0, 2, 1], [1, 2, 0]])  # of three items, by which two are the nearest
_FIRST, _SECOND = _ORDER[:, 0], _ORDER[:, 1]


def triplet_loss(
    anchor: Array, positive: Array, negative: Array, margin: Array | float = 1.0, *, squared: bool = True
) -> Array:
    """How far a similar item is from being nearer to the anchor than another one, by a margin.

    `max(d(a, p) - d(a, n) + margin, 0)`, with d the squared Euclidean distance, or the plain one

    The answer to "which two of these three are most alike" names no anchor: add the loss with `anchor` and `positive`
    exchanged (SIRL). With an anchor to be learned, unsquared, it draws the anchor to what is preferred, or what is
    preferred to the anchor (OPPO); stop the gradient of whichever is not to move.

    Shapes: `[..., D]` each, broadcast against each other (an anchor `[D]` for all) -> `[...]`. Differentiated: the
    three. The plain distance has gradient 0 where it is 0.

    Usual mistakes: embeddings that are sums over steps with a margin meant for their mean, which is met by growing with
    the length; and squared and plain distances at the same margin, which are different losses.

    >>> anchor, positive, negative = jnp.zeros(2), jnp.array([2.0, 0.0]), jnp.array([0.0, 2.5])
    >>> [float(triplet_loss(anchor, positive, negative, squared=squared)) for squared in (True, False)]
    [0.0, 0.5]

    Raises:
      ValueError: for shapes that do not broadcast or a negative margin.

    Source: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering" (2015); Bobu et al.,
    "SIRL: Similarity-based Implicit Representation Learning" (2023); Kang et al., "Beyond Reward: Offline
    Preference-guided Policy Optimization" (2023).
    """
    check.in_range("margin", margin, 0.0)
    anchor, positive, negative = jnp.asarray(anchor), jnp.asarray(positive), jnp.asarray(negative)
    for name, other in (("positive", positive), ("negative", negative)):
        check.require(other.shape[-1:] == anchor.shape[-1:], name, other.shape, f"[..., D] with D of {anchor.shape}")
    near, far = (
        jnp.sum(jnp.square(x), axis=-1) if squared else safe_norm(x) for x in (anchor - positive, anchor - negative)
    )
    return jax.nn.relu(near - far + jax.lax.stop_gradient(jnp.asarray(margin, near.dtype)))


def most_similar_pair(feature: Array) -> Array:
    """Which two of three items are nearest to each other, and which is left over: a similarity query, answered.

    `argmin_{i < j} ||f_i - f_j||`

    Shapes: `[..., 3, F]` -> int `[..., 3]`: the two in their order, then the other one, as `triplet_loss` takes them.
    Of equally near pairs the first one. Nothing is differentiated.

    Usual mistake: features in units of which one swamps the rest; they are what the answers mean, so scale them first.

    >>> most_similar_pair(jnp.array([[0.0], [5.0], [1.0]])).tolist()
    [0, 2, 1]

    Raises:
      ValueError: for another shape.

    Source: Bobu et al., "SIRL: Similarity-based Implicit Representation Learning" (2023).
    """
    feature = jax.lax.stop_gradient(jnp.asarray(feature))
    check.require(feature.ndim >= 2 and feature.shape[-2] == 3, "feature", feature.shape, "of shape [..., 3, F]")
    distance = jnp.sum(jnp.square(feature[..., _FIRST, :] - feature[..., _SECOND, :]), axis=-1)
    return jnp.asarray(_ORDER)[jnp.argmin(distance, axis=-1)]


def goal_steps(key: Array, chosen_mask: Array, rejected_mask: Array, count: int) -> tuple[Array, Array, Array]:
    """Steps of a pair of trajectories to contrast: sources and goals of the chosen one, and steps of the rejected one.

    Two steps of the chosen one are drawn uniformly; the earlier of them is the source, the later one the goal.

    Shapes: bool `[..., T]`, bool `[..., T']`, valid steps -> int `[..., count]` three times; 0 where nothing is valid.

    Usual mistakes: steps of the prompt, which both share (take them out of the masks); and indices that count padding.

    >>> source, goal, _ = goal_steps(jax.random.key(0), jnp.array([True, True, False]), jnp.ones(4, bool), 8)
    >>> bool(jnp.all(source <= goal)), int(goal.max())
    (True, 1)

    Raises:
      ValueError: for masks of different batches, or a count that is no positive integer.

    Source: Nath et al., "Learning Goal-Conditioned Representations for Language Reward Models" (2024).
    """
    check.count("count", count)
    chosen, rejected = jnp.asarray(chosen_mask, bool), jnp.asarray(rejected_mask, bool)
    batch = chosen.shape[:-1]
    check.require(rejected.shape[:-1] == batch, "rejected_mask", rejected.shape, f"of shape {(*batch, 'T')}")
    first_key, second_key, rejected_key = jax.random.split(key, 3)

    def draw(key: Array, mask: Array) -> Array:
        """The place of the k-th valid step, for uniform k."""
        place = jnp.cumsum(mask, axis=-1)
        k = jax.random.randint(key, (*batch, count), 0, jnp.maximum(place[..., -1:], 1))
        return jnp.argmax(place[..., None, :] > k[..., None], axis=-1)

    first, second = draw(first_key, chosen), draw(second_key, chosen)
    return jnp.minimum(first, second), jnp.maximum(first, second), draw(rejected_key, rejected)


def goal_contrastive_loss(
    source: Array,
    goal: Array,
    negative: Array,
    *,
    pairs: Literal["all", "diagonal"] = "all",
    reduce: Literal["log_of_mean", "mean_of_logs"] = "log_of_mean",
) -> Array:
    """Draws states of a preferred trajectory to later ones of it, and away from those of the one rejected.

    - "log_of_mean": `-log mean_ij S(s_i, g_j) - log(1 - mean_ij S(s_i, n_j))`, with `S = sigmoid(cosine)`.
    - "mean_of_logs": `-mean_ij log S(s_i, g_j) - mean_ij log(1 - S(s_i, n_j))`, the usual contrastive estimate.

    "all" pairs every source with every goal, "diagonal" the i-th with the i-th. Of all pairs only the diagonal ones are
    sure to have the source before its goal (`goal_steps`). Since cosines lie in [-1, 1], the loss lies in [0.62, 2.63].

    It is a loss per trajectory. The paper's program takes the logarithms of means over the *batch*: for that, put the
    sources, goals and negatives of a batch next to each other and pair them on the diagonal. Add half of the loss (the
    paper's weight) to that of the preferences.

    Shapes: hidden states `[..., n, D]` of the chosen, the chosen and the rejected trajectory -> `[...]`.
    Differentiated: all three.

    >>> h = jnp.array([[1.0, 0.0]])
    >>> [round(float(goal_contrastive_loss(h, sign * h, -sign * h)), 3) for sign in (1, -1)]
    [0.627, 2.627]

    Raises:
      ValueError: for shapes that differ, or unknown options.

    Source: Nath et al., "Learning Goal-Conditioned Representations for Language Reward Models" (2024).
    """
    check.same_shape(source=source, goal=goal, negative=negative)
    check.require(pairs in ("all", "diagonal"), "pairs", pairs, "'all' or 'diagonal'")
    check.require(reduce in ("log_of_mean", "mean_of_logs"), "reduce", reduce, "'log_of_mean' or 'mean_of_logs'")
    source, goal, negative = (_unit(jnp.asarray(x)) for x in (source, goal, negative))
    check.require(source.ndim >= 2, "source", source.shape, "of shape [..., n, D]")
    subscripts = "...id,...jd->...ij" if pairs == "all" else "...id,...id->...i"
    axes = (-2, -1) if pairs == "all" else -1
    loss = jnp.zeros(source.shape[:-2], source.dtype)
    for sign, other in ((1, goal), (-1, negative)):
        logit = sign * jnp.einsum(subscripts, source, other)
        if reduce == "log_of_mean":
            loss -= jnp.log(jnp.mean(jax.nn.sigmoid(logit), axis=axes))
        else:
            loss -= jnp.mean(jax.nn.log_sigmoid(logit), axis=axes)
    return loss


def goal_value(state: Array, goal: Array) -> Array:
    """How much a state looks like one on the way to a goal: the cosine of their features.

    `h . g / (|h| |g|)`, where g is, for one, the mean of the last states of preferred trajectories

    After `goal_contrastive_loss` it is a value for every step of a trajectory, where a reward model has one at its end.

    Shapes: `[..., D]`, `[..., D]` (broadcast) -> `[...]` in [-1, 1]; 0 for features that are 0. Differentiated: both.

    >>> goal_value(jnp.array([[3.0, 0.0], [1.0, 1.0]]), jnp.array([0.5, 0.5])).round(3).tolist()
    [0.7070000171661377, 1.0]

    Raises:
      ValueError: for features of different sizes.

    Source: Nath et al., "Learning Goal-Conditioned Representations for Language Reward Models" (2024).
    """
    state, goal = jnp.asarray(state), jnp.asarray(goal)
    check.require(goal.shape[-1:] == state.shape[-1:], "goal", goal.shape, f"[..., D] with D of {state.shape}")
    return jnp.sum(_unit(state) * _unit(goal), axis=-1)


def prune_step(
    value: Array, mask: Array, threshold: Array | float, *, minimum: int = 5, share: Array | float = 0.0
) -> Array:
    """After how many steps to give a trajectory up: the first value below a threshold, once it has had a chance.

    `min {t : v_t < threshold, t >= max(minimum, share T)}`, or the length T where there is none

    Shapes: `[..., T]`, bool `[..., T]`, a prefix -> int `[...]`. Nothing is differentiated. What is saved is the length
    less this.

    Usual mistake: a threshold chosen on the trajectories that are then pruned.

    >>> prune_step(jnp.array([-1.0, 0.5, -1.0, 0.5]), jnp.ones(4, bool), 0.0, minimum=1).tolist()
    2

    Raises:
      ValueError: for shapes that differ, a negative `minimum`, or a share outside [0, 1].

    Source: Nath et al., "Learning Goal-Conditioned Representations for Language Reward Models" (2024).
    """
    check.same_shape(value=value, mask=mask)
    check.count("minimum", minimum, 0)
    check.in_range("share", share, 0.0, 1.0)
    value, mask = jnp.asarray(value), jnp.asarray(mask, bool)
    steps, length = jnp.arange(mask.shape[-1]), jnp.sum(mask, axis=-1)
    earliest = jnp.maximum(minimum, jnp.asarray(share) * length)
    stops = mask & (value < threshold) & (steps >= earliest[..., None])
    return jnp.where(jnp.any(stops, axis=-1), jnp.argmax(stops, axis=-1), length)


def info_nce_loss(first: Array, second: Array, temperature: Array | float = 0.05, mask: Array | None = None) -> Array:
    """How hard it is to tell an item's second view from those of the other items of a batch.

    `-log exp(c_ii / temperature) / sum_j exp(c_ij / temperature)`, with `c_ij` the cosine of views i and j

    Two passes with different dropout masks are two views (SimCSE). Of a pair of answers the difference of their
    features may be the item. At `log B` nothing is told apart.

    Shapes: `[..., B, D]` twice, bool `[..., B]` (false for padding) -> `[..., B]`; 0 for padding. Differentiated: both
    views. With the views exchanged it is the other direction; a symmetric loss is their mean.

    Usual mistake: items in a batch that are the same thing, which are pushed apart as if they were not.

    >>> views = jnp.eye(3)
    >>> [round(float(info_nce_loss(views, other).mean()), 3) for other in (views, 0 * views)]  # log 3
    [0.0, 1.099]

    Raises:
      ValueError: for shapes that do not fit, or a temperature that is not above zero.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018); Gao et al.,
    "SimCSE: Simple Contrastive Learning of Sentence Embeddings" (2021).
    """
    check.same_shape(first=first, second=second)
    check.positive("temperature", temperature)
    first, second = jnp.asarray(first), jnp.asarray(second)
    check.require(first.ndim >= 2, "first", first.shape, "of shape [..., B, D]")
    temperature = jax.lax.stop_gradient(jnp.asarray(temperature, first.dtype))
    logits = jnp.einsum("...id,...jd->...ij", _unit(first), _unit(second)) / temperature
    valid = jnp.ones(first.shape[:-1], bool) if mask is None else jnp.asarray(mask, bool)
    check.require(valid.shape == first.shape[:-1], "mask", valid.shape, f"of shape {first.shape[:-1]}")
    itself = jnp.eye(first.shape[-2], dtype=bool)  # keeps rows of padding finite
    others = jax.nn.logsumexp(logits, axis=-1, where=valid[..., None, :] | itself)
    return jnp.where(valid, others - jnp.diagonal(logits, axis1=-2, axis2=-1), 0)


def unit_norm_loss(z: Array) -> Array:
    """How far an embedding is from the unit sphere: `(||z|| - 1)^2`.

    It keeps embeddings from growing to meet a margin. An embedding that is learned without it (a preferred context) has
    to be brought to length 1 where it is used.

    Shapes: `[..., D]` -> `[...]`. Differentiated: `z`, with gradient 0 at 0.

    Usual mistake: `||z||^2 - 1` inside the square, a different and much steeper loss.

    >>> unit_norm_loss(jnp.array([[0.6, 0.8], [3.0, 0.0]])).tolist()
    [0.0, 4.0]

    Raises:
      ValueError: for no axis.

    Source: Kang et al., "Beyond Reward: Offline Preference-guided Policy Optimization" (2023).
    """
    z = jnp.asarray(z)
    check.require(z.ndim > 0, "z", z.shape, "of shape [..., D]")
    return jnp.square(safe_norm(z) - 1)


def reference_scaled_reward(reward: Array, reference: Array) -> Array:
    """A reward in (0, 1): how probably it would be preferred to what a reference holds.

    `mean_n sigmoid(r - r_n)`

    Rewards of different users or contexts are on scales of their own, since a preference fixes differences only within
    one; each against a reference of its own they are alike. It is the score of self-play preference optimisation, and
    it also keeps a reward model from paying without bound.

    Shapes: `[...]`, `[..., N]` whose `...` broadcasts to that of the rewards (`[B, N]` for rewards `[T, B]`: one
    reference for each user) -> `[...]`. Differentiated: `reward` and `reference`; stop the latter's where it is data.

    Usual mistake: one user's references for all users, which leaves the difference in scale.

    >>> reference_scaled_reward(jnp.array([0.0, 100.0]), jnp.array([-1.0, 1.0])).tolist()
    [0.5, 1.0]

    Raises:
      ValueError: for a reference without entries.

    Source: Poddar et al., "Personalizing Reinforcement Learning from Human Feedback with Variational Preference
    Learning" (2024), after Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback"
    (2024).
    """
    reward, reference = jnp.asarray(reward), jnp.asarray(reference)
    check.require(reference.ndim > 0 and reference.shape[-1] > 0, "reference", reference.shape, "[..., N] with N > 0")
    return jnp.mean(jax.nn.sigmoid(reward[..., None] - reference), axis=-1)


def centroid_distance(feature: Array, centroid: Array, mask: Array | None = None) -> Array:
    """How far features are from everything that was seen: the distance to the nearest of some centroids.

    `min_k ||h - c_k||`

    With the centroids of labelled data it says how much a reward can be trusted. A gate on it keeps a share of samples:
    `distance <= jnp.quantile(distance_of_trusted_data, share)`. With centroids of several dimensions of preference,
    vmapped over these, `jax.nn.softmax(-distance)` says which of them the model leans on.

    Shapes: `[..., D]`, `[K, D]`, bool `[K]` (false for padding, not all) -> `[...]`. Differentiated: `feature` and
    `centroid`.

    Usual mistakes: a threshold from another model, whose features have another scale; and features on which one
    component swamps the rest.

    >>> centroid_distance(jnp.array([[0.0, 3.0], [1.0, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])).tolist()
    [3.0, 0.0]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Wang et al., "Probing Preference Representations: A Multi-Dimensional Evaluation and Analysis Method for
    Reward Models" (2025).
    """
    feature, centroid = jnp.asarray(feature), jnp.asarray(centroid)
    fits = centroid.ndim == 2 and feature.shape[-1:] == centroid.shape[-1:]
    check.require(fits, "centroid", centroid.shape, f"[K, D] with D of {feature.shape}")
    distance = safe_norm(feature[..., None, :] - centroid)
    if mask is not None:
        mask = jnp.asarray(mask, bool)
        check.require(mask.shape == centroid.shape[:1], "mask", mask.shape, f"of shape [{len(centroid)}]")
        distance = jnp.where(mask, distance, jnp.inf)
    return jnp.min(distance, axis=-1)


def _unit(x: Array) -> Array:
    """Of length 1; 0 where it is 0."""
    length = safe_norm(x)[..., None]
    return x / jnp.where(length > 0, length, 1)
