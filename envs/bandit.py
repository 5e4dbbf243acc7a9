"""Bandits over answers with a known gold reward: pools for reward models, arms for what alignment does to a policy.

`GoldPool`. A prompt has a finite pool of answers, and the pool with equal probabilities *is* the reference policy. So
the best of n (`rlx.reward.best_of_n`), the tilted policy (`rlx.reward.tilt`), their gold rewards and KL divergences are
exact sums.

Gold rewards are made to be over-optimised. An answer `y = exp(l) u` has a direction u, normal in eight dimensions, and
an intensity l, normal with deviation `width`; think of length. With q a fixed random network of prompt and direction,

    gold = q (1 + tanh(l / width) / 2) - max(l / width - 1/2, 0)^2,   standardised over answers

More intensity pays a little at first and harms in the tail, which training data hardly show but a search over many
answers finds. This tail is what makes the gold reward rise and fall while the proxy's goes on rising. Without it
(`width = 0`: normal answers, a random network, a network as the proxy, a quarter of the labels wrong) gold goes on
rising to the best of 4096 answers for every proxy, and a claim about over-optimisation would pass or fail by accident.

`CategoricalBandit`. A few arms with a reference policy that is not uniform, where what a method converges to is a sum
over arms: the tilt `rlx.reward.tilt`, the gap `rlx.policy.duality_gap`. Instances are functions that make its
parameters, pure in their key, so that `jax.vmap` makes a problem for each seed.

`LuckyBandit`. Two arms with random rewards and a log of them that misleads whoever imitates the lucky ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.reward.best_of_n import tilt
from rlx.reward.preference import synthetic_teacher
from rlx.types import Array, PreferenceBatch, Transition

DIMENSIONS = 8  # of a prompt, and of an answer
_HIDDEN, _GAIN, _CALIBRATION = 64, 2.0, 8192


class GoldTask(NamedTuple):
    """A gold reward: `F` attributes, each a random network of prompt and direction, and how they make it up."""

    hidden: Array  # [16, 64]
    readout: Array  # [64, F]
    weight: Array  # [F] of the attributes, sums to 1
    width: Array  # [] deviation of the log intensity
    attribute_moments: tuple[Array, Array]  # [F] mean and deviation, by which attributes are standardised
    gold_moments: tuple[Array, Array]  # [] likewise


class Answers(NamedTuple):
    """Answers to prompts with everything there is to know of them."""

    prompt: Array  # [..., 8]
    response: Array  # [..., 8], what a reward model may see
    log_intensity: Array  # [...], not to be told exactly from the response
    attribute: Array  # [..., F]
    gold: Array  # [...]


def gold_task(key: Array, attributes: int = 1, width: Array | float = 0.6) -> GoldTask:
    """A random gold reward; its moments are those of 8192 random answers.

    With several attributes (`GoldPoolMulti` of the literature is six of them at `width = 0`) the quality q is their sum
    under random weights; at `width = 0` it is the gold reward, and answers are normal.

    Raises:
      ValueError: for a number of attributes that is no positive integer, or a negative width.
    """
    check.count("attributes", attributes)
    check.in_range("width", width, 0.0)
    hidden_key, readout_key, weight_key, sample_key = jax.random.split(key, 4)
    hidden = _GAIN * jax.random.normal(hidden_key, (2 * DIMENSIONS, _HIDDEN)) / (2 * DIMENSIONS) ** 0.5
    readout = _GAIN * jax.random.normal(readout_key, (_HIDDEN, attributes)) / _HIDDEN**0.5
    weight = jax.random.dirichlet(weight_key, jnp.ones(attributes))
    plain = jnp.zeros(()), jnp.ones(())
    task = GoldTask(
        hidden, readout, weight, jnp.asarray(width, jnp.float32), (jnp.zeros(attributes), jnp.ones(attributes)), plain
    )
    for field, value in (("attribute_moments", "attribute"), ("gold_moments", "gold")):
        sample = getattr(draw_answers(task, sample_key, (_CALIBRATION,)), value)
        task = task._replace(**{field: (sample.mean(0), sample.std(0))})
    return task


def draw_answers(task: GoldTask, key: Array, shape: tuple[int, ...], prompt: Array | None = None) -> Answers:
    """Random answers, to random prompts or to those given (`[*shape, 8]`, or what broadcasts to it)."""
    prompt_key, direction_key, intensity_key = jax.random.split(key, 3)
    if prompt is None:
        prompt = jax.random.normal(prompt_key, (*shape, DIMENSIONS))
    prompt = jnp.broadcast_to(prompt, (*shape, DIMENSIONS))
    direction = jax.random.normal(direction_key, (*shape, DIMENSIONS))
    intensity = jax.random.normal(intensity_key, shape)  # in units of the width
    features = jnp.concatenate([prompt, direction], -1)
    attribute = jnp.tanh(features @ task.hidden) @ task.readout
    attribute = (attribute - task.attribute_moments[0]) / task.attribute_moments[1]
    intense = jnp.where(task.width > 0, intensity, 0.0)
    gold = attribute @ task.weight * (1 + jnp.tanh(intense) / 2) - jnp.square(jax.nn.relu(intense - 0.5))
    gold = (gold - task.gold_moments[0]) / task.gold_moments[1]
    log_intensity = task.width * intensity
    return Answers(prompt, jnp.exp(log_intensity)[..., None] * direction, log_intensity, attribute, gold)


def gold_queries(
    task: GoldTask,
    key: Array,
    queries: int,
    candidates: int = 2,
    *,
    beta: Array | float = 2.0,
    mistake: Array | float = 0.0,
) -> PreferenceBatch:
    """Queries about fresh prompts, `candidates` answers each, answered by `rlx.reward.synthetic_teacher`.

    The observation is prompt and response, 16 numbers, in one step; `factor` holds the attributes and `gold` the gold
    reward. With `beta = 2` and `mistake = 0.25` it is the noisy labelling of Coste et al.
    """
    prompt_key, answer_key, teacher_key = jax.random.split(key, 3)
    prompt = jax.random.normal(prompt_key, (queries, 1, DIMENSIONS))
    answers = draw_answers(task, answer_key, (queries, candidates), prompt)
    mask = jnp.ones((queries, candidates, 1), bool)
    target, _ = synthetic_teacher(teacher_key, answers.gold[..., None], mask, beta, mistake=mistake)
    return PreferenceBatch(
        obs=jnp.concatenate([answers.prompt, answers.response], -1)[:, :, None],
        action=None,
        mask=mask,
        target=target,
        prompt=prompt[:, 0],
        weight=jnp.ones(queries),
        factor=answers.attribute,
        source=jnp.ones(queries, jnp.int32),
        gold=answers.gold,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GoldPoolParams:
    """The pool. Replace `reward` by a proxy's scores to optimise that; `gold` stays what it is."""

    prompt: Any  # [X, 8]
    response: Any  # [X, N, 8]
    attribute: Any  # [X, N, F]
    gold: Any  # [X, N]
    reward: Any  # [X, N] or [X, N, F], what `step` pays
    max_steps_in_episode: Any  # steps; one answer ends the episode

    def replace(self, **changes: Any) -> GoldPoolParams:
        return dataclasses.replace(self, **changes)


def gold_pool(task: GoldTask, key: Array, prompts: int = 32, answers: int = 4096) -> GoldPoolParams:
    """`prompts` random prompts with a pool of `answers` each, paying the gold reward."""
    prompt_key, answer_key = jax.random.split(key)
    prompt = jax.random.normal(prompt_key, (prompts, DIMENSIONS))
    drawn = draw_answers(task, answer_key, (prompts, answers), prompt[:, None])
    return GoldPoolParams(prompt, drawn.response, drawn.attribute, drawn.gold, drawn.gold, jnp.asarray(1, jnp.int32))


class GoldPoolState(NamedTuple):
    prompt: Array  # int32 []: which one was asked
    time: Array  # int32 [], steps since the reset


class GoldPool:
    """One question, one answer: observe a prompt, choose an answer of its pool, get its reward.

    Actions are the pool's indices, and mean something else for every prompt; what they stand for is in
    `params.response`. `info["gold"]` is the gold reward, whatever `params.reward` pays.

    Known optimum: the best answer to each prompt, `optimal_return()`; with a penalty of `beta` on the KL divergence
    from the uniform policy, the tilt `rlx.reward.tilt`, worth `beta log mean exp(gold / beta)` for a prompt.

    Args:
      key: of the gold reward and the pool.
      prompts, answers: sizes of the pool.
      attributes, width: see `gold_task`.
      vector: pay the attributes as a vector reward in place of the gold reward.

    Source: after Gao et al., "Scaling Laws for Reward Model Overoptimization" (2023), and Coste et al., "Reward Model
    Ensembles Help Mitigate Overoptimization" (2024), whose pools are answers of language models.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        key: Array,
        prompts: int = 32,
        answers: int = 4096,
        *,
        attributes: int = 1,
        width: float = 0.6,
        vector: bool = False,
    ) -> None:
        check.count("prompts", prompts)
        check.count("answers", answers)
        task_key, pool_key = jax.random.split(key)
        self.task = gold_task(task_key, attributes, width)
        self.default_params = gold_pool(self.task, pool_key, prompts, answers)
        if vector:
            self.reward_channels = tuple(f"attribute {f}" for f in range(attributes))
            self.default_params = self.default_params.replace(reward=self.default_params.attribute)

    def reset_env(self, key: Array, params: GoldPoolParams) -> tuple[Array, GoldPoolState]:
        index = jax.random.randint(key, (), 0, params.prompt.shape[0], jnp.int32)
        return params.prompt[index], GoldPoolState(index, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: GoldPoolState, action: Array, params: GoldPoolParams
    ) -> tuple[Array, GoldPoolState, Array, Array, dict[str, Any]]:
        del key
        info = {"gold": params.gold[state.prompt, action]}
        reward = params.reward[state.prompt, action]
        return params.prompt[state.prompt], state._replace(time=state.time + 1), reward, jnp.asarray(True), info

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-jnp.inf, jnp.inf, (DIMENSIONS,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.default_params.gold.shape[1])

    def optimal_return(self) -> float:
        """The expected gold reward of the best answers."""
        return float(self.default_params.gold.max(1).mean())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CategoricalParams:
    """Arms in contexts. A policy in which arms share what is learned of them is `log_reference + feature @ theta`."""

    log_reference: Any  # [X, A], what the policy is to stay near
    gold: Any  # [X, A], what `step` pays
    preference: Any  # [X, A, A], the probability that the first is preferred to the second
    feature: Any  # [X, A, F] of arms; one-hot where they share nothing
    max_steps_in_episode: Any  # steps; one arm ends the episode

    def replace(self, **changes: Any) -> CategoricalParams:
        return dataclasses.replace(self, **changes)


class CategoricalState(NamedTuple):
    context: Array  # int32 []
    time: Array  # int32 [], steps since the reset


class CategoricalBandit:
    """Observe a context (one-hot), pull an arm, get its gold reward.

    Known optimum: the best arm of each context, `optimal_return()`; with a penalty of `beta` on the KL divergence from
    the reference, the tilt, `optimal_policy(beta)`.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, params: CategoricalParams) -> None:
        check.rank("params.gold", params.gold, 2)
        self.default_params = params

    def reset_env(self, key: Array, params: CategoricalParams) -> tuple[Array, CategoricalState]:
        context = jax.random.randint(key, (), 0, params.gold.shape[0], jnp.int32)
        return self._observe(context), CategoricalState(context, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: CategoricalState, action: Array, params: CategoricalParams
    ) -> tuple[Array, CategoricalState, Array, Array, dict[str, Any]]:
        del key
        reward = params.gold[state.context, action]
        return self._observe(state.context), state._replace(time=state.time + 1), reward, jnp.asarray(True), {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (self.default_params.gold.shape[0],))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.default_params.gold.shape[1])

    def optimal_return(self) -> float:
        """The expected reward of the best arms."""
        return float(self.default_params.gold.max(1).mean())

    def optimal_policy(self, beta: Array | float) -> Array:
        """`[X, A]`, log-probabilities: the best policy that pays `beta` for each nat from the reference."""
        return tilt(self.default_params.log_reference, self.default_params.gold, jnp.asarray(beta))

    def _observe(self, context: Array) -> Array:
        return jax.nn.one_hot(context, self.default_params.gold.shape[0])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LuckyParams:
    prob: Any  # [A] that an arm pays 1
    behaviour: Any  # [A] how often the log has it
    max_steps_in_episode: Any = 1  # steps; one arm ends the episode

    def replace(self, **changes: Any) -> LuckyParams:
        return dataclasses.replace(self, **changes)


class LuckyState(NamedTuple):
    time: Array  # int32 [], steps since the reset


class LuckyBandit:
    """Two arms that pay 1 or nothing; a log has the worse one so often that most of its luck is with it.

    Arm 0 pays with probability `1 - p` and makes up a share p of the log, arm 1 pays with probability p and makes up
    the rest. So of the logged steps that paid, each arm has one half, and a policy that imitates what was followed by a
    reward of 1 gets 1/2, whatever p is.

    Known optimum: `1 - p`, always arm 0; `conditioned` has the returns of imitating a reward of 0 or 1.

    Args:
      p: probability in (0, 1/2), with which the worse arm pays.

    Source: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023).
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, p: float = 0.1) -> None:
        check.in_range("p", p, 0.0, 0.5, open_low=True, open_high=True)
        made = LuckyParams(jnp.array([1 - p, p]), jnp.array([p, 1 - p]))
        self.default_params: LuckyParams = strong(made)

    def reset_env(self, key: Array, params: LuckyParams) -> tuple[Array, LuckyState]:
        del key, params
        return jnp.ones(1), LuckyState(jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: LuckyState, action: Array, params: LuckyParams
    ) -> tuple[Array, LuckyState, Array, Array, dict[str, Any]]:
        reward = jax.random.bernoulli(key, params.prob[action]).astype(jnp.float32)
        return jnp.ones(1), LuckyState(state.time + 1), reward, jnp.asarray(True), {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (1,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(2)

    def optimal_return(self) -> float:
        return float(self.default_params.prob.max())

    def conditioned(self, reward: Array) -> Array:
        """`P(a | reward)` in the log, for a reward of 0 or 1: `[..., 2]`."""
        paid = jnp.asarray(reward)[..., None] > 0
        joint = self.default_params.behaviour * jnp.where(paid, self.default_params.prob, 1 - self.default_params.prob)
        return joint / joint.sum(-1, keepdims=True)

    def log(self, key: Array, steps: int, num_envs: int = 1) -> Transition:
        """`[steps, num_envs]` episodes of one step, of the behaviour policy."""
        check.count("steps", steps)
        arm_key, pay_key = jax.random.split(key)
        shape, params = (steps, num_envs), self.default_params
        action = jax.random.categorical(arm_key, jnp.log(params.behaviour), shape=shape)
        reward = jax.random.bernoulli(pay_key, params.prob[action]).astype(jnp.float32)
        obs, ended = jnp.ones((*shape, 1)), jnp.ones(shape, bool)
        return Transition(obs, action, jnp.log(params.behaviour)[action], reward, ended, ~ended, obs)


def _categorical(
    gold: Array, logits: Array, feature: Array | None = None, preference: Array | None = None
) -> CategoricalParams:
    """Bradley and Terry's preferences and one-hot features, unless others are given."""
    gold = jnp.asarray(gold, jnp.float32)
    if preference is None:
        preference = jax.nn.sigmoid(gold[:, :, None] - gold[:, None])
    if feature is None:
        feature = jnp.broadcast_to(jnp.eye(gold.shape[1]), (*gold.shape, gold.shape[1]))
    return CategoricalParams(jax.nn.log_softmax(logits), gold, preference, feature, jnp.asarray(1, jnp.int32))


COPG_SAMPLERS = ((0.1, 0.2, 0.7), (0.05, 0.05, 0.9))  # of the two arms of a pair


def copg_bandit() -> CategoricalParams:
    """Three arms whose gold rewards are 2.5, 2 and 1, a uniform reference, and pairs (`COPG_SAMPLERS`) mostly of the
    worst arm.

    Source: Flet-Berliac et al., "Contrastive Policy Gradient" (2024).
    """
    return _categorical(jnp.array([[2.5, 2.0, 1.0]]), jnp.zeros((1, 3)))


def peaks_bandit(
    width: Array | float = 15.0, peak: Array | float = 70.0, start: Array | float = 20.0, *, arms: int = 100
) -> CategoricalParams:
    """Arms in a row; the reference is normal around `start` with deviation `width`, gold is `exp(-((a - peak) /
    10)^2)`.

    With the peak at the start the reference is good already; far from it, what is paid is hardly ever sampled.

    Source: Tajwar et al., "Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data" (2024).
    """
    check.count("arms", arms, 2)
    check.positive("width", width)
    arm = jnp.arange(arms, dtype=jnp.float32)[None]
    return _categorical(jnp.exp(-jnp.square((arm - peak) / 10)), -jnp.square((arm - start) / width) / 2)


def feature_bandit(
    key: Array, contexts: int = 1, *, arms: int = 64, features: int = 16, clean: bool = False
) -> CategoricalParams:
    """Arms with random features, of which gold is a linear function, up to noise.

    Features are `N(0, 1 / F)`; gold is `x w + 0.7 N(0, 1)`, `w ~ N(0, 1.5^2)`, reference logits `1.5 N(0, 1)`. A
    policy linear in the features moves arms that it has never seen. `clean`: gold is `x w` with `w ~ N(0, 3^2)` and
    reference logits are `0.5 N(0, 1)`: the tilted reference is then in the class of such policies, else it is not.
    """
    for name, size in (("contexts", contexts), ("arms", arms), ("features", features)):
        check.count(name, size)
    feature_key, weight_key, noise_key, reference_key = jax.random.split(key, 4)
    feature = jax.random.normal(feature_key, (contexts, arms, features)) / features**0.5
    gold = feature @ ((3.0 if clean else 1.5) * jax.random.normal(weight_key, (features,)))
    if not clean:
        gold = gold + 0.7 * jax.random.normal(noise_key, gold.shape)
    return _categorical(gold, (0.5 if clean else 1.5) * jax.random.normal(reference_key, gold.shape), feature)


def junk_bandit(key: Array, *, arms: int = 48, features: int = 8) -> CategoricalParams:
    """Half of the arms are junk (gold -6) that the reference hardly chooses, so that no data show it.

    Features are `N(0, 1 / F)`, gold of the others is `x w`, `w ~ N(0, 1)`; reference logits are `0.5 N(0, 1)`, 3 less
    for junk.
    """
    check.count("features", features)
    check.count("arms", arms, 2)
    feature_key, weight_key, reference_key = jax.random.split(key, 3)
    feature = jax.random.normal(feature_key, (1, arms, features)) / features**0.5
    junk = jnp.arange(arms) >= arms // 2
    gold = jnp.where(junk, -6.0, feature @ jax.random.normal(weight_key, (features,)))
    logits = 0.5 * jax.random.normal(reference_key, gold.shape) - 3.0 * junk
    return _categorical(gold, logits, feature)


def sparse_bandit(key: Array, *, arms: int = 32) -> CategoricalParams:
    """The best arm, the first (gold 4), is almost absent from the reference (logit -5); other golds are `N(0, 1)`."""
    check.count("arms", arms, 2)
    best = jnp.arange(arms) == 0
    gold = jnp.where(best, 4.0, jax.random.normal(key, (1, arms)))
    return _categorical(gold, jnp.where(best, -5.0, 0.0)[None])


def cyclic_bandit(key: Array, *, arms: int = 10) -> CategoricalParams:
    """Preferences that no reward explains: `sigmoid((S - S^T) / sqrt 2)`, `S ~ N(0, 1.5^2)`, and a uniform reference.

    Gold is the probability to beat an arm of the reference. Known optimum: the Nash policy, where
    `rlx.policy.duality_gap` is 0.
    """
    check.count("arms", arms, 2)
    strength = 1.5 * jax.random.normal(key, (1, arms, arms))
    preference = jax.nn.sigmoid((strength - jnp.swapaxes(strength, 1, 2)) / 2**0.5)
    return _categorical(preference.mean(-1), jnp.zeros((1, arms)), preference=preference)


def categorical_queries(
    params: CategoricalParams,
    key: Array,
    queries: int,
    log_behaviour: tuple[Array, Array] | None = None,
    *,
    noise: bool = True,
) -> PreferenceBatch:
    """Pairs of arms in random contexts, and which was preferred.

    `log_behaviour`, two times `[X, A]`, draws the first and the second arm; without, the reference draws both. Labels
    follow `params.preference`; without `noise` the more probable one is preferred, equal ones tie. `prompt` is the
    context's index, actions are arms, with one step.
    """
    check.count("queries", queries)
    context_key, arm_key, label_key = jax.random.split(key, 3)
    context = jax.random.randint(context_key, (queries,), 0, params.gold.shape[0], jnp.int32)
    log_behaviour = (params.log_reference,) * 2 if log_behaviour is None else log_behaviour
    keys = jax.random.split(arm_key)
    arm = jnp.stack([jax.random.categorical(k, x[context]) for k, x in zip(keys, log_behaviour, strict=True)], 1)
    prob = params.preference[context, arm[:, 0], arm[:, 1]]
    first = jax.random.bernoulli(label_key, prob).astype(prob.dtype) if noise else (jnp.sign(prob - 0.5) + 1) / 2
    behaviour = jnp.stack([x[context, arm[:, i]] for i, x in enumerate(log_behaviour)], 1)
    return PreferenceBatch(
        obs=None,
        action=arm[..., None],
        mask=jnp.ones((queries, 2, 1), bool),
        target=jnp.stack([first, 1 - first], 1),
        prompt=context,
        weight=jnp.ones(queries),
        behaviour_log_prob=behaviour[..., None],
        reference_log_prob=params.log_reference[context[:, None], arm][..., None],
        gold=params.gold[context[:, None], arm],
    )
