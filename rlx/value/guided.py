"""Decoding under guidance: a frozen policy, and at the time of choosing a value or a search on top of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def value_guided_logits(
    logits: Array,
    q: Array,
    inverse_temperature: Array | float,
    weights: Array | None = None,
    *,
    top_k: int | None = None,
) -> Array:
    """A base policy, or a product of several, tilted by values: log-probabilities to sample from.

        log softmax_a(sum_k weights_k logits_k,a + inverse_temperature q_a)

    With one base (no `weights`) and exact values it is `argmax_pi E_pi q - KL(pi || base) / inverse_temperature` in
    each state; with `weights = l / sum(l)` and `inverse_temperature = 1 / sum(l)` the solution of
    `max_pi E_pi q - sum_k l_k KL(pi || pi_k)`, of which the l are multipliers.

    - Value augmented sampling: the tokens' values under the *base*, `top_k` 20; for several rewards the sum of their
      values, each times its own weight, which may be chosen at run time.
    - Implicit language Q-learning: `q = Q - V`; the V cancels, as does any constant.
    - V-GPS: `q` of sampled actions and `logits` 0, as the samples stand for the policy. Its "temperature" is 1 over
      ours; at 0 take the best, `greedy_action(q)`.
    - Two-stage constrained actor-critic: `weights`, and advantages of the main reward.

    `inverse_temperature`: nats per unit of value; 0 leaves the base. Only the `top_k` most probable actions of the
    (pooled) base are kept, the first ones on a tie. For values of the base, a high inverse temperature is one step of
    policy improvement, at least as good as the base if nothing is cut; over several steps it is not the best policy
    for its divergence, for which values must be soft (`soft_value_iteration`). Over all completions of one prompt, see
    `rlx.reward.tilt`.

    Shapes: `logits` and `q` `[..., A]`, `inverse_temperature` a scalar or `[...]`; with `weights` `[K]` or `[..., K]`
    (not negative), `logits` `[..., K, A]` -> `[..., A]`, `-inf` for what was cut or is impossible under a base that
    counts. Differentiated: all.

    Usual mistake: the value of the prefix for that of the prefix with the token.

    >>> base = jnp.log(jnp.array([0.5, 0.25, 0.25]))
    >>> tilted = value_guided_logits(base, jnp.array([0.0, 0.0, jnp.log(4.0)]), 0.5)
    >>> [round(p, 4) for p in jnp.exp(tilted).tolist()]
    [0.4, 0.2, 0.4]
    >>> jnp.exp(value_guided_logits(base, jnp.array([0.0, 0.0, 9.0]), 1.0, top_k=1)).tolist()
    [1.0, 0.0, 0.0]

    Raises:
      ValueError: for shapes that do not fit, a negative inverse temperature or weight, or a `top_k` outside [1, A].

    Source: Han et al., "Value Augmented Sampling for Language Model Alignment and Personalization" (2024); Snell et
    al., "Offline RL for Natural Language Generation with Implicit Language Q Learning" (2023); Nakamoto et al.,
    "Steering Your Generalists: Improving Robotic Foundation Models via Value Guidance" (2024); Cai et al., "Two-Stage
    Constrained Actor-Critic for Short Video Recommendation" (2023).
    """
    check.in_range("inverse_temperature", inverse_temperature, 0.0)
    if weights is not None:
        shape, wanted = jnp.shape(weights), jnp.shape(logits)[:-1]
        fits = len(wanted) > 0 and shape in (wanted[-1:], wanted)
        check.require(fits, "the shape of weights", shape, f"[K] or [..., K] for logits {jnp.shape(logits)}")
        check.in_range("weights", weights, 0.0)
        weights = jnp.asarray(weights)[..., None]
        # a base of weight 0 has no say, whatever it rules out
        logits = jnp.sum(jnp.where(weights > 0, weights * logits, 0.0), axis=-2)
    check.same_shape(logits=logits, q=q)
    tilted = logits + jnp.asarray(inverse_temperature)[..., None] * q
    if top_k is not None:
        actions = jnp.shape(logits)[-1]
        check.count("top_k", top_k)
        check.require(top_k <= actions, "top_k", top_k, f"at most the {actions} actions")
        _, kept = jax.lax.top_k(logits, top_k)
        tilted = jnp.where(jnp.any(kept[..., None] == jnp.arange(actions), axis=-2), tilted, -jnp.inf)
    return jax.nn.log_softmax(tilted, axis=-1)


class SearchResult(NamedTuple):
    """What a search found, the best first."""

    token: Array  # int32 [B, T], padded after the end
    log_prob: Array  # [B], of the whole sequence under the base
    score: Array  # [B], with the heuristic; -inf: no such hypothesis, or one that was ruled out


def lookahead_search(
    log_prob: Callable[[Array, Array], Array],
    heuristic: Callable[[Array], Array],
    weight: Array | float,
    *,
    length: int,
    beam: int,
    top_k: int,
    lookahead: int | None = None,
    end: int | None = None,
    pad: int = 0,
) -> SearchResult:
    """Beam search whose score looks ahead: a hypothesis counts for what it is greedily completed to.

        score(y, a) = log p(y, a) + weight h(y, a, the next `lookahead` greedy tokens)

    Each step extends every hypothesis y by its `top_k` most probable tokens a and keeps the `beam` of the highest
    score. A heuristic of `-inf` rules out. The heuristic sees the continuation, the log-probability only the prefix.
    With `weight = 0` it is beam search; with a beam that holds everything, exhaustive.

    `log_prob(token [N, T], time)` gives log-probabilities `[N, V]` of the token at place `time`, from those before it;
    `heuristic(token [N, T])` gives `[N]` for sequences that may be unfinished. N is `beam` or `beam top_k`: one token
    of the answer costs `beam (1 + top_k lookahead)` predictions.

    Args:
      weight: of the heuristic, in nats.
      length: T, the most tokens of an answer.
      beam: hypotheses that are kept.
      top_k: tokens tried after each.
      lookahead: greedy tokens that the heuristic sees; None: to the end of the answer.
      end: the token that ends an answer; None: all have T tokens.
      pad: what follows it.

    Shapes: none batched; `vmap` over prompts that the functions close over. Nothing is differentiated.

    Usual mistake: a heuristic that judges unfinished answers as if they were finished, with too short a lookahead:
    what is rewarded at the end alone then guides nothing. Answers compete at different lengths, so that weight must
    outbid the log-probability that every further token costs.

    >>> table = jnp.log(jnp.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]))  # first token, then after 0 and after 1
    >>> def model(token, time):
    ...     return table[jnp.where(time == 0, 0, 1 + token[:, 0])]
    >>> def ones(token):
    ...     return token.sum(-1).astype(float)
    >>> lookahead_search(model, ones, 1.0, length=2, beam=1, top_k=2).token.tolist()
    [[1, 1]]

    Raises:
      ValueError: for counts below 1, a negative lookahead, a `top_k` above the number of tokens, or an end that pads.

    Source: Huang et al., "DeAL: Decoding-time Alignment for Large Language Models" (2024).
    """
    for name, number in (("length", length), ("beam", beam), ("top_k", top_k)):
        check.count(name, number)
    if lookahead is not None:
        check.count("lookahead", lookahead, 0)
    check.require(end != pad, "end", end, "another token than pad")

    def over(token: Array, time: Array) -> Array:
        """Whether the end is before place `time`, `[N]`."""
        if end is None:
            return jnp.zeros(len(token), bool)
        return jnp.any((token == end) & (jnp.arange(length) < time), axis=-1)

    def complete(token: Array, time: Array) -> Array:
        """Greedily, from place `time` on."""

        def put(place: Array, token: Array) -> Array:
            best = jnp.argmax(log_prob(token, place), axis=-1).astype(jnp.int32)
            return token.at[:, place].set(jnp.where(over(token, place), pad, best))

        last = length if lookahead is None else jnp.minimum(time + lookahead, length)
        return jax.lax.fori_loop(time, last, put, token)

    def extend(found: SearchResult, time: Array) -> tuple[SearchResult, None]:
        following = log_prob(found.token, time)
        check.require(top_k <= following.shape[-1], "top_k", top_k, f"at most the {following.shape[-1]} tokens")
        likely, token = jax.lax.top_k(following, top_k)
        done = over(found.token, time)[:, None]
        # a finished answer has one continuation, padding, which costs nothing
        likely = jnp.where(done, jnp.where(jnp.arange(top_k) == 0, 0.0, -jnp.inf), likely)
        each = jnp.repeat(found.token, top_k, axis=0)
        each = each.at[:, time].set(jnp.where(done, pad, token).ravel().astype(jnp.int32))
        total = (found.log_prob[:, None] + likely).ravel()
        judged = heuristic(complete(each, time + 1))
        guide = jnp.where(jnp.isneginf(judged), -jnp.inf, weight * judged)
        score, kept = jax.lax.top_k((total + guide).astype(dtype), beam)
        # what is ruled out must not come back with its log-probability
        alive = jnp.where(jnp.isneginf(score), -jnp.inf, total[kept])
        return SearchResult(each[kept], alive, score), None

    empty = jnp.full((beam, length), pad, jnp.int32)
    dtype = jax.eval_shape(log_prob, empty, jnp.int32(0)).dtype
    first = jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf).astype(dtype)
    start = SearchResult(empty, first, first)
    return jax.lax.scan(extend, start, jnp.arange(length))[0]
