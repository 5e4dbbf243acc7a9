"""A guide for `guided_weights` where nothing is labelled: how certain and how diverse predictions on a target are."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy import categorical_entropy
from rlx.types import Array


def mutual_information_loss(logits: Array) -> Array:
    """Minus the mutual information of input and predicted class: low where predictions are certain and classes differ.

        mean_b H(p_b) - H(mean_b p_b),   between -log C and 0

    Shapes: `[B, C]` -> `[]`, as the mean lies inside the entropy. Differentiated: `logits`, of which `-inf` excludes a
    class.

    Usual mistakes: to read zero as solved, where it is the value of predictions that say nothing (add `log C` for a
    loss that ends at zero); a batch in which some class is missing, which is then invented; and to minimise it alone,
    as it does not know which class is which.

    >>> round(float(mutual_information_loss(jnp.array([[50.0, 0.0], [0.0, 50.0]]))), 4)
    -0.6931

    Raises:
      ValueError: unless `logits` is a matrix.

    Source: Bridle, Heading and MacKay, "Unsupervised Classifiers, Mutual Information and 'Phantom Targets'" (1992); Lv
    et al., "Pareto Domain Adaptation" (2021).
    """
    check.rank("logits", logits, 2)
    log_prob = jax.nn.log_softmax(logits)
    mean = jnp.exp(log_prob).mean(0)
    log_mean = jnp.where(mean > 0, jnp.log(jnp.where(mean > 0, mean, 1.0)), -jnp.inf)
    return categorical_entropy(log_prob).mean() - categorical_entropy(log_mean)


def refine_target(logits: Array, domain_log_prob: Array) -> Array:
    """Class predictions of an input that is known to be from the target, `log p(c | x, target)`.

        p(c | x, target) = p(c | x) p(target | c, x) / sum_c' p(c' | x) p(target | c', x)

    Shapes: `[..., C]`, `[..., C]` -> `[..., C]`, normalised natural logarithms. Differentiated: all. The second
    comes from a discriminator of domains for each class: `log_sigmoid` of its logit for the target.

    Usual mistake: a discriminator that does not see the class, whose probability is the same for all and cancels.

    >>> found = refine_target(jnp.zeros(2), jnp.log(jnp.array([0.9, 0.3])))
    >>> [round(float(p), 4) for p in jnp.exp(found)]
    [0.75, 0.25]

    Raises:
      ValueError: for shapes that differ.

    Source: Lv et al., "Pareto Domain Adaptation" (2021).
    """
    check.same_shape(logits=logits, domain_log_prob=domain_log_prob)
    return jax.nn.log_softmax(jax.nn.log_softmax(logits) + domain_log_prob)
