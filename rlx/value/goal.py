"""Values of reaching goals: their one loss, goals drawn from the log, and the embeddings that values are made of.

A step costs 1 until the goal is reached, so that `V(s, g) = -(1 - gamma^d) / (1 - gamma)` at a distance of d steps.
`gc_value_loss` learns it from a log that was made for no goal; what is given to it makes it one or another method:

| method | next state | advantage | values |
|---|---|---|---|
| GCIVL, HIQL | one step later | of the step, for its goal | any network `V(s, g)` |
| OTA | the end of an option (`option_end`), cost and discount once an option | of the option | any network |
| HILP | one step later | of the step, for its goal | `hilbert_value(phi(s), phi(g))` |
| ICVF | one step later | of the step for its *intent*, `V(s, z, z)` | `multilinear_value`: outcome g, intent z |

States of a log are numbered, and `last` is the number of the last one of an episode. "Reached" means that a state's
number is the goal's, or for finite spaces that they are the same state.
"""

from __future__ import annotations

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array
from rlx.value.loss import implicit_max_loss


def goal_advantage(value: Array, next_value: Array, reached: Array, discount: Array | float) -> Array:
    """How much better a step is for a goal than what is usual: the advantage that weighs `gc_value_loss`.

        A = [reached] - 1 + discount (1 - [reached]) min_i V_i(s', g) - mean_i V_i(s, g)

    Shapes: heads `[N, ...]` of the *target* network twice, bool `[...]` (the goal is where the step begins), discount
    of a step (OTA: of an option) -> `[...]`. Stopped: all.

    Usual mistake: values of the network that learns, whose noise then decides by itself which errors count.

    >>> goal_advantage(jnp.array([[-2.0], [-1.8]]), jnp.array([[-1.0], [-0.8]]), jnp.array([False]), 0.5).tolist()
    [0.3999999761581421]

    Raises:
      ValueError: for shapes that do not fit, or a discount outside [0, 1].

    Source: Park et al., "HIQL: Offline Goal-Conditioned RL with Latent States as Actions" (2023).
    """
    check.same_shape(value=value, next_value=next_value)
    least, mean = jnp.min(jnp.asarray(next_value), axis=0), jnp.mean(jnp.asarray(value), axis=0)
    return jax.lax.stop_gradient(goal_target(least, reached, discount) - mean)


def goal_target(next_value: Array, reached: Array, discount: Array | float) -> Array:
    """What a step says of the value of where it begins: 0 at the goal, else one step more than from where it leads.

        [reached] - 1 + discount (1 - [reached]) V(s', g)

    Shapes: `[...]`, or heads `[N, ...]`; bool `[...]` -> as `next_value`. Stopped: all.

    Usual mistake: `reached` of the state that the step leads to, which makes all values those of one step less.

    >>> goal_target(jnp.array([-1.0, -7.0]), jnp.array([False, True]), 0.9).tolist()
    [-1.899999976158142, 0.0]

    Raises:
      ValueError: for shapes that do not fit, or a discount outside [0, 1].

    Source: Park et al., "HIQL: Offline Goal-Conditioned RL with Latent States as Actions" (2023).
    """
    check.in_range("discount", discount, 0.0, 1.0)
    next_value, shape = jnp.asarray(next_value), jnp.shape(reached)
    fits = shape in (next_value.shape, next_value.shape[1:])
    check.require(fits, "the shape of reached", shape, f"{next_value.shape}, with or without its first axis")
    target = jnp.where(jnp.asarray(reached, bool), 0.0, discount * next_value - 1.0)
    return jax.lax.stop_gradient(target).astype(next_value.dtype)


def gc_value_loss(
    value: Array,
    next_value: Array,
    reached: Array,
    level: Array | float,
    discount: Array | float,
    advantage: Array | None = None,
) -> Array:
    """Loss of goal-conditioned values: an expectile of what logged steps make of them, above the mean if `level` is.

        sum_i |level - 1[A < 0]| (goal_target(V'_i(s', g)) - V_i(s, g))^2

    Each head i has a target of its own; A is `goal_advantage` (None: each head's own error). In ICVF the values are of
    outcome g under intent z, and A is for the intent as its own outcome, `reached` there being `s = z`; with g = z it
    is GCIVL. With zeros for A every step counts alike, and the values are those of the log's own behaviour.

    As `level` goes to 1 values approach the best that the log holds, `-(1 - gamma^d) / (1 - gamma)` at d steps, on
    deterministic dynamics; where chance plays a part they count its luck as skill. Below 1 they are of something
    between the behaviour and the best: the log's worse actions pull them down. ICVF's values are determined only where
    the way to the intent leads: elsewhere, no step has an advantage that would tell.

    Shapes: heads `[N, ...]` of the network, and of its target at the next state; bool `[...]`; A `[...]` -> `[...]`.
    Differentiated: `value`.

    >>> one = jnp.ones((2, 1))
    >>> gc_value_loss(-2.5 * one, -one, jnp.array([False]), 0.75, 0.5, jnp.array([0.1])).tolist()
    [1.5]

    Raises:
      ValueError: for shapes that do not fit, a `level` outside (0, 1) or a discount outside [0, 1].

    Source: Park et al., "HIQL: Offline Goal-Conditioned RL with Latent States as Actions" (2023); Ahn et al.,
    "Option-aware Temporally Abstracted Value for Offline Goal-Conditioned Reinforcement Learning" (2025); Park et al.,
    "Foundation Policies with Hilbert Representations" (2024); Ghosh et al., "Reinforcement Learning from Passive Data
    via Latent Intentions" (2023).
    """
    check.same_shape(value=value, next_value=next_value)
    value = jnp.asarray(value)
    check.require(value.ndim >= 1, "value", value.shape, "of shape [N, ...], heads first")
    diff = goal_target(next_value, reached, discount) - value
    if advantage is not None:
        shape = jnp.shape(advantage)
        check.require(shape == value.shape[1:], "the shape of advantage", shape, f"{value.shape[1:]}")
        advantage = jnp.broadcast_to(jax.lax.stop_gradient(advantage), diff.shape)
    return implicit_max_loss(diff, "expectile", level, advantage).sum(0)


def episode_end(done: Array) -> Array:
    """The time of the last step of the episode that each step belongs to.

    Shapes: bool `[T, ...]`, the step ended its episode -> int `[T, ...]`; T - 1 where the log ends before the episode.

    >>> episode_end(jnp.array([False, True, False, False])).tolist()
    [1, 1, 3, 3]

    Raises:
      ValueError: for an empty log.

    Source: none; the end that goals and options must not pass.
    """
    check.require(
        jnp.ndim(done) >= 1 and jnp.shape(done)[0] > 0, "the shape of done", jnp.shape(done), "[T, ...], T > 0"
    )
    done = jnp.asarray(done, bool)
    steps = done.shape[0]
    time = jnp.arange(steps, dtype=jnp.int32).reshape(steps, *(1,) * (done.ndim - 1))
    return jax.lax.cummin(jnp.where(done, time, steps - 1), axis=0, reverse=True)


def option_end(index: Array, goal: Array, last: Array, steps: Array | int) -> Array:
    """Where an option of n steps that begins in a logged state ends: n states on, sooner at the goal or at the end.

        min(index + n, goal if index <= goal <= last, last)

    An option that is cut short costs as much as a whole one, which is what the value of a goal at `ceil(d / n)` options
    needs; where the episode ends, it is pessimistic.

    Shapes: int `[...]` each: the state, its goal, and the last state of its episode -> int `[...]`.

    Usual mistake: an option that runs past its goal, or into the next episode.

    >>> option_end(jnp.array([3, 3, 3, 8]), jnp.array([4, 0, 9, 9]), jnp.array([9, 9, 9, 9]), 5).tolist()
    [4, 8, 8, 9]

    Raises:
      ValueError: for shapes that differ, `steps < 1`, or a state after the last one.

    Source: Ahn et al., "Option-aware Temporally Abstracted Value for Offline Goal-Conditioned Reinforcement Learning"
    (2025).
    """
    check.same_shape(index=index, goal=goal, last=last)
    check.in_range("steps", steps, 1)
    _not_after(index, last)
    index, goal, last = (jnp.asarray(x) for x in (index, goal, last))
    bound = jnp.where((index <= goal) & (goal <= last), goal, last)
    return jnp.minimum(index + steps, bound)


def relabel_goals(
    key: Array,
    index: Array,
    last: Array,
    size: int,
    discount: Array | float,
    *,
    current: Array | float = 0.2,
    future: Array | float = 0.5,
    random: Array | float = 0.3,
    uniform: bool = False,
) -> Array:
    """Goals for logged states: the state itself, one from later in its episode, or any of the log.

    A later state is `Geometric(1 - discount)` steps on, the last one where that is past the end; with `uniform`, each
    of the later ones is as likely. `relabel_prob` has the probabilities.

    Shapes: key, int `[...]` the state's number, int `[...]` that of the last of its episode, how many states the log
    has -> int `[...]`. Of the last state itself, the later one is itself.

    Usual mistakes: goals of the future alone, under which no value is learned for goals that the episode did not reach;
    and a state's own number never drawn, under which values are not held to 0 at the goal.

    >>> goal = relabel_goals(jax.random.key(0), jnp.full(5, 3), jnp.full(5, 4), 9, 0.5, current=0, future=1, random=0)
    >>> goal.tolist()
    [4, 4, 4, 4, 4]

    Raises:
      ValueError: for shapes that differ, an empty log, states outside it or after their last one, shares that are
        negative or do not sum to 1, or a discount outside [0, 1).

    Source: Andrychowicz et al., "Hindsight Experience Replay" (2017); Park et al., "OGBench: Benchmarking Offline
    Goal-Conditioned RL" (2025), whose uniform future rounds, so that its first and last state come half as often.
    """
    _check_log(index, last, size, discount, (current, future, random))
    index, last = jnp.asarray(index), jnp.asarray(last)
    kind_key, future_key, random_key = jax.random.split(key, 3)
    unit = jax.random.uniform(future_key, index.shape)
    if uniform:
        offset = 1 + jnp.floor(unit * (last - index))
    else:
        offset = 1 + jnp.floor(jnp.log1p(-unit) / jnp.log(jnp.maximum(discount, 1e-30)))
    later = jnp.minimum(index + jnp.minimum(offset, size).astype(index.dtype), last)
    anywhere = jax.random.randint(random_key, index.shape, 0, size, index.dtype)
    kind = jax.random.uniform(kind_key, index.shape)
    return jnp.where(kind < current, index, jnp.where(kind < current + future, later, anywhere))


def relabel_prob(
    index: Array,
    last: Array,
    size: int,
    discount: Array | float,
    *,
    current: Array | float = 0.2,
    future: Array | float = 0.5,
    random: Array | float = 0.3,
    uniform: bool = False,
) -> Array:
    """The probability of each state of the log to be the goal that `relabel_goals` draws.

    Shapes: as there -> `[..., size]`. Nothing is differentiated.

    >>> relabel_prob(jnp.array(0), jnp.array(2), 4, 0.5, current=0.5, future=0.5, random=0).tolist()
    [0.5, 0.25, 0.25, 0.0]

    Raises:
      ValueError: as `relabel_goals`.

    Source: Andrychowicz et al., "Hindsight Experience Replay" (2017).
    """
    _check_log(index, last, size, discount, (current, future, random))
    index, last = (jnp.asarray(x)[..., None] for x in (index, last))
    offset = jnp.arange(size) - index
    remaining = last - index
    inside = (offset > 0) & (offset <= remaining)
    if uniform:
        later = inside / jnp.maximum(remaining, 1)
    else:
        discount = jax.lax.stop_gradient(jnp.asarray(discount, jnp.result_type(discount, float)))
        before = discount ** jnp.maximum(offset - 1, 0)  # that the draw is this or later
        later = jnp.where(inside, jnp.where(offset == remaining, before, before * (1 - discount)), 0)
    own = offset == 0
    return current * own + future * jnp.where(remaining > 0, later, own) + random / size


def hilbert_value(embedding: Array, goal_embedding: Array, floor: float = 1e-6) -> Array:
    """Minus the distance of embeddings, as a value: `-sqrt(max(|phi(s) - phi(g)|^2, floor))`.

    Learned by `gc_value_loss` it makes distances in the embedding the discounted numbers of steps. They are symmetric,
    and those of a Hilbert space: a maze with one-way passages cannot have them, and many others only about.

    Shapes: `[..., D]` twice -> `[...]`. Differentiated: both; below the floor the gradient is 0, at 0 that of a root
    would be infinite.

    >>> float(hilbert_value(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0])))
    -5.0

    Raises:
      ValueError: for shapes that differ, or a `floor` that is not positive.

    Source: Park et al., "Foundation Policies with Hilbert Representations" (2024).
    """
    check.same_shape(embedding=embedding, goal_embedding=goal_embedding)
    check.positive("floor", floor)
    square = jnp.sum(jnp.square(jnp.asarray(embedding) - jnp.asarray(goal_embedding)), axis=-1)
    return -jnp.sqrt(jnp.maximum(square, floor))


def directional_reward(embedding: Array, next_embedding: Array, task: Array) -> Array:
    """How far a step moves along a direction of the embedding: `<phi(s') - phi(s), z>`.

    Its sum over an episode telescopes to the way from first to last state, so that no detour pays; no state ends the
    episode. With `z = (phi(g) - phi(s)) / |.|`, drawn anew in each state, following it leads to g (`task_vector`).

    Shapes: `[..., D]` each -> `[...]`. Differentiated: `task`; embeddings are fixed.

    >>> float(directional_reward(jnp.array([0.0, 1.0]), jnp.array([2.0, 5.0]), jnp.array([1.0, 0.0])))
    2.0

    Raises:
      ValueError: for shapes that differ.

    Source: Park et al., "Foundation Policies with Hilbert Representations" (2024).
    """
    check.same_shape(embedding=embedding, next_embedding=next_embedding, task=task)
    moved = jax.lax.stop_gradient(jnp.asarray(next_embedding) - jnp.asarray(embedding))
    return jnp.sum(moved * jnp.asarray(task), axis=-1)


def multilinear_value(embedding: Array, outcome: Array, gate: Array, left: Array, right: Array) -> Array:
    """The value of an outcome under an intent: linear in features of state and outcome, the intent deciding how.

        V(s, g, z) = phi(s)^T T(z) psi(g),   T(z) = diag(t) A B^T diag(t),   t = t(psi(z))

    Shapes: `[..., D]` three times, matrices A and B `[D, E]` -> `[...]`. Differentiated: all. Any behaviour's values
    are then linear in `phi`, which is what makes these features good to start from.

    >>> one, eye = jnp.ones(2), jnp.eye(2)
    >>> float(multilinear_value(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), jnp.array([1.0, 0.0]), eye, eye))
    3.0

    Raises:
      ValueError: for shapes that do not fit.

    Source: Ghosh et al., "Reinforcement Learning from Passive Data via Latent Intentions" (2023).
    """
    check.same_shape(embedding=embedding, outcome=outcome, gate=gate)
    check.same_shape(left=left, right=right)
    wanted = jnp.shape(gate)[-1]
    check.require(
        jnp.ndim(left) == 2 and jnp.shape(left)[0] == wanted, "the shape of left", jnp.shape(left), f"[{wanted}, E]"
    )
    embedding, outcome, gate, left, right = (jnp.asarray(x) for x in (embedding, outcome, gate, left, right))
    return jnp.sum(((gate * embedding) @ left) * ((gate * outcome) @ right), axis=-1)


def _not_after(index: Array, last: Array) -> None:
    """Refuse states that come after the last one of their episode; traced ones cannot be looked at."""
    if not any(isinstance(x, jax.core.Tracer) for x in (index, last)):
        late = bool(np.any(np.asarray(index) > np.asarray(last)))
        check.require(not late, "index", index, f"at most last = {last!r}")


def _check_log(
    index: Array, last: Array, size: int, discount: Array | float, shares: tuple[Array | float, ...]
) -> None:
    check.same_shape(index=index, last=last)
    check.count("size", size)
    check.in_range("index", index, 0, size - 1)
    check.in_range("last", last, 0, size - 1)
    _not_after(index, last)
    check.in_range("discount", discount, 0.0, 1.0, open_high=True)
    for name, share in zip(("current", "future", "random"), shares, strict=True):
        check.in_range(name, share, 0.0, 1.0)
    if not any(isinstance(share, jax.core.Tracer) for share in shares):
        check.require(bool(abs(sum(shares) - 1.0) < 1e-6), "current + future + random", sum(shares), "1")
