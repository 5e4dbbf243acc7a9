"""Direct alignment from preferences on the policy's own answers: sample, judge, build pairs, learn, in one update.

With other samplers, references and losses it is online DPO, iterative DPO, DNO, INPO, SPPO, XPO or SELM:

- online DPO: as it is;
- iterative DPO: `sampler="previous", refresh_every=n, refresh_reference=True`; DNO: with `label="soft"` and
  `score="win_rate"` too;
- SPPO: the same with `loss="sppo"`; INPO: with `loss="ipo"` and `reference_weight`, its tau over eta;
- XPO: `sampler="reference+current", optimism=alpha`; SELM: with `refresh_every` and `refresh_reference` too;
- best and worst of n: `num_samples=n`;
- from scores, without pairs: `loss="copg"`, "rloo", "p3o" or "prdp"; REBEL: `loss="rebel"` and what iterative DPO has.

The judge is the environment's gold reward, or a function of the reader's, such as what `fit_judge` learns from pairs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.algos.offline_alignment import SCORED, Loss, LossConfig, language_policy, learner
from rlx.nets.language import END, PAD, LanguageModel, completion_log_prob, completion_score, init, sample
from rlx.nets.reference import ReferenceConfig, choose_model, choose_reference
from rlx.policy import best_worst_pair, geometric_reference, value_bias_term, win_rate
from rlx.reward import preference_loss
from rlx.types import Algorithm, Array, Channel, GroupBatch, Policy, PreferenceBatch, PyTree

# prompts [N, P], tokens [N, G, T] and their mask of G answers each -> scores [N, G], or probabilities [N, G, G] that
# one is preferred to another, which need not come from scores
Judge = Callable[[Array, Array, Array], Array]
SAMPLERS = ("current", "previous", "reference", "mixture")


@dataclasses.dataclass(frozen=True)
class Config(ReferenceConfig, LossConfig):
    """Settings of online alignment. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_prompts: int = 64  # in an update, drawn from the environment's table
    num_samples: int = 2  # answers to each prompt; of more than two a loss of pairs sees the best and the worst
    sampler: str = "current"  # who answers: "current", "previous" (refreshed), "reference", "mixture", or two by "+"
    mixture: float = 0.5  # weight of the reference's logits in "mixture", against the current ones; 0.5: TRL
    temperature: float = 1.0  # of sampling
    score: Literal["judge", "win_rate"] = "judge"  # what answers are compared by; "win_rate": how often the noisy judge
    # prefers one to the others of its group (DNO)
    label: Literal["sample", "soft", "hard"] = "sample"  # one answer of a noisy judge, its probability, the comparison
    label_scale: float = 1.0  # how decided the noisy judge is: log-odds per unit of score
    length_bias: float = 0.0  # what the environment's judge pays for each token
    missing_end_penalty: float = 0.0  # taken off the score, if the judge gives scores, of an answer that was cut
    num_steps: int = 1  # gradient steps on the pairs of an update
    refresh_every: int = 0  # updates after which the previous policy is set to the current one; 0: never
    refresh_reference: bool = False  # log-ratios are to the previous policy; DNO, INPO, SPPO, SELM
    reference_weight: float = 0.0  # of the fixed reference in them, a geometric mixture; INPO's tau / eta
    optimism: float = 0.0  # alpha: adds alpha times the log-ratio of the first sampler's answer; XPO, SELM (times beta)

    def __post_init__(self) -> None:
        ReferenceConfig.__post_init__(self)
        LossConfig.__post_init__(self)
        for name in ("num_prompts", "num_steps"):
            check.count(name, getattr(self, name))
        check.count("num_samples", self.num_samples, 2)
        if self.loss in ("p3o", "p3o_joint"):
            check.require(self.num_samples == 2, "num_samples", self.num_samples, f"2 with loss {self.loss!r}")
        parts = self.sampler.split("+")
        known = len(parts) <= 2 and set(parts) <= set(SAMPLERS)
        check.require(known, "sampler", self.sampler, f"one of {SAMPLERS}, or two of them joined by '+'")
        check.divides("the number of samplers", len(parts), "num_samples", self.num_samples)
        check.count("refresh_every", self.refresh_every, 0)
        for name in ("mixture", "reference_weight"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("temperature", "label_scale"):
            check.positive(name, getattr(self, name))
        check.in_range("length_bias", self.length_bias)
        check.in_range("missing_end_penalty", self.missing_end_penalty, 0.0)
        check.in_range("optimism", self.optimism, 0.0)
        if _nonzero(self.optimism):
            allowed = "'reference' or 'previous' first, with optimism: it is about that one's answers"
            check.require(parts[0] in ("reference", "previous"), "sampler", self.sampler, allowed)
        if self.refresh_reference:
            check.count("refresh_every (with refresh_reference)", self.refresh_every)


class State(NamedTuple):
    """Everything that it remembers between updates."""

    params: PyTree
    optimiser: PyTree
    shift: Array  # [] "bco"'s, see `offline_alignment`
    reference: PyTree  # parameters that stay
    previous: PyTree  # parameters at the last refresh; None where nothing reads them
    updates: Array  # int32 []
    key: Array


class Collected(NamedTuple):
    """What an update learns from."""

    rows: PreferenceBatch | GroupBatch  # groups for the losses of scores
    first: tuple[Array, Array]  # token and mask [N, T] of the first sampler's first answers
    metrics: dict[str, Array]


def make(
    config: Config,
    env: Any,
    env_params: Any = None,
    *,
    model: LanguageModel | None = None,
    reference: PyTree = None,
    loss: Loss | None = None,
    judge: Judge | None = None,
) -> Algorithm:
    """Online alignment on `env`, a token environment (`rlx.envs.token`).

    An update asks `num_prompts` prompts and counts as many environment steps as its answers could have tokens.

    Args:
      model: whose parameters are learned; default a network of the configuration's sizes.
      reference: its parameters to begin with and to stay near; default supervised training on the environment's
        demonstrations, as part of `init`.
      loss: one of the reader's own in place of `config.loss`, see `offline_alignment`.
      judge: scores of groups of answers, or preferences between them; default the environment's.

    Raises:
      ValueError: for a model of another vocabulary, or a `reference` without the model that it is of.
    """
    env_params = env.default_params if env_params is None else env_params
    network = choose_model(config, env, model, reference)
    step = learner(config, network, loss)
    collect = collector(config, env, env_params, network, judge)
    keeps_previous = config.refresh_reference or "previous" in config.sampler

    def start(key: Array) -> State:
        base = choose_reference(config, env, env_params, network, reference)
        params = jax.tree.map(jnp.copy, base)
        previous = jax.tree.map(jnp.copy, base) if keeps_previous else None
        return State(params, step.optimiser.init(params), jnp.zeros(()), base, previous, jnp.zeros((), jnp.int32), key)

    def optimistic(collected: Collected) -> Callable[[PyTree], Array] | None:
        if not _nonzero(config.optimism):
            return None
        prompt, (token, mask) = collected.rows.prompt, collected.first
        return lambda params: jnp.mean(
            value_bias_term(
                completion_log_prob(network, params, prompt, prompt != PAD, token, mask),
                mask,
                coefficient=config.optimism,
            )
        )

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data
        key, collect_key = jax.random.split(state.key)
        collected = collect(collect_key, state.params, state.previous, state.reference)
        learn = functools.partial(
            step.learn, rows=collected.rows, reference=state.reference, extra=optimistic(collected)
        )
        learned = state.params, state.optimiser, state.shift
        for _ in range(config.num_steps):
            *learned, metrics = learn(*learned)
        params, opt_state, shift = learned
        updates, previous = state.updates + 1, state.previous
        if keeps_previous and config.refresh_every:
            due = updates % config.refresh_every == 0
            previous = jax.tree.map(lambda new, old: jnp.where(due, new, old), params, previous)
        state = State(params, opt_state, shift, state.reference, previous, updates, key)
        return state, {**metrics, **collected.metrics}

    def policy(state: State) -> Policy:
        return language_policy(network, state.params)

    def with_learned(state: State, learned: PyTree) -> State:
        params, opt_state, shift = learned
        return state._replace(params=params, optimiser=opt_state, shift=shift)

    return Algorithm(
        start,
        update,
        policy,
        config.num_prompts * config.num_samples * env.task.length,
        (Channel("reward"),),
        lambda state: (state.params, state.optimiser, state.shift),
        with_learned,
    )


def fit_judge(
    model: LanguageModel,
    data: PreferenceBatch,
    key: Array,
    *,
    num_steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
) -> tuple[Judge, Array]:
    """A judge learned from comparisons, and its losses `[num_steps]`: a reward model, fitted once and then frozen.

    It is a network of the language model's kind whose score of an answer is `completion_score`. `data` are pairs
    with `prompt`, `action`, `mask` and `target`; each step takes `batch_size` of them anew.

    Raises:
      ValueError: for counts below 1, a learning rate not above 0, or data without prompts or of more than pairs.
    """
    check.count("num_steps", num_steps)
    check.count("batch_size", batch_size)
    check.positive("learning_rate", learning_rate)
    check.require(data.prompt is not None, "data.prompt", None, "token ids")
    check.require(data.target.shape[1:] == (2,), "data.target", data.target.shape, "of shape [B, 2]")
    optimiser = optax.adam(learning_rate)

    def loss(params: PyTree, rows: PreferenceBatch) -> Array:
        score = completion_score(model, params, rows.prompt, rows.prompt != PAD, rows.action, rows.mask)  # pyright: ignore[reportArgumentType]
        return preference_loss(score[:, 0] - score[:, 1], rows.target[:, 0]).mean()

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], Array]:
        params, state = carry
        row = jax.random.randint(key, (batch_size,), 0, data.target.shape[0])
        value, grads = jax.value_and_grad(loss)(params, jax.tree.map(lambda x: x[row], data))
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    init_key, run_key = jax.random.split(key)
    start = init(model, init_key)
    steps = jax.jit(lambda start, keys: jax.lax.scan(step, (start, optimiser.init(start)), keys))
    (params, _), losses = steps(start, jax.random.split(run_key, num_steps))
    return functools.partial(_score_group, model, params), losses


def _score_group(model: LanguageModel, params: PyTree, prompt: Array, token: Array, mask: Array) -> Array:
    return completion_score(model, params, prompt, prompt != PAD, token, mask)


def collector(
    config: Config, env: Any, env_params: Any, model: LanguageModel, judge: Judge | None = None
) -> Callable[..., Collected]:
    """`collect(key, params, previous, reference) -> Collected`: ask, sample, judge, and pair up for a loss of pairs.

    What it gives is a data set like any other: offline alignment on the answers of the reference is online alignment
    whose sampler is never refreshed.
    """
    parts, group = config.sampler.split("+"), config.num_samples
    length = env.task.length
    weight = jnp.stack([jnp.asarray(x, jnp.float32) for x in (config.mixture, 1 - jnp.asarray(config.mixture))])

    def judged(prompt: Array, token: Array, mask: Array) -> tuple[Array, Array]:
        """Scores `[N, G]` and probabilities `[N, G, G]` that one answer is preferred to another."""
        if judge is not None:
            found = judge(prompt, token, mask)
        else:
            found = env.score(prompt[:, None], token, mask, env_params, length_bias=config.length_bias)
        if found.ndim == 3:
            scores, preference = win_rate(found), found
        else:
            cut = ~jnp.any(mask & (token == END), axis=-1)
            scores = found - config.missing_end_penalty * cut
            preference = _preference(config.label_scale * scores)
        if config.score == "win_rate":
            scores = win_rate(preference)
            preference = _preference(scores)
        return scores, preference

    def answers(key: Array, prompt: Array, who: str, models: dict[str, PyTree]) -> Any:
        """`[N, G / parts, T]`."""
        repeated = jnp.repeat(prompt, group // len(parts), axis=0)
        params, mix = (models[who], None) if who != "mixture" else (None, weight)
        if who == "mixture":
            params = jax.tree.map(lambda *x: jnp.stack(x), models["reference"], models["current"])
        drawn = sample(model, params, key, repeated, repeated != PAD, length, temperature=config.temperature, mix=mix)
        return jax.tree.map(lambda x: x.reshape(prompt.shape[0], -1, length), drawn)

    def pair_up(key: Array, rows: GroupBatch, preference: Array) -> PreferenceBatch:
        prompt = jnp.arange(config.num_prompts)
        index = jnp.broadcast_to(jnp.arange(2), (config.num_prompts, 2))
        if group > 2:
            index = best_worst_pair(rows.reward[..., 0]).index
        token, mask, behaviour = (
            jnp.take_along_axis(x, index[..., None], axis=1) for x in (rows.action, rows.mask, rows.behaviour_log_prob)
        )
        first = preference[prompt, index[:, 0], index[:, 1]]
        if config.label == "sample":
            first = jax.random.bernoulli(key, first).astype(jnp.float32)
        elif config.label == "hard":
            first = (1 + jnp.sign(first - 0.5)) / 2
        differ = jnp.any((token[:, 0] != token[:, 1]) | (mask[:, 0] != mask[:, 1]), axis=-1)
        decided = differ if config.label != "hard" else differ & (first != 0.5)
        return PreferenceBatch(
            None,
            token,
            mask,
            jnp.stack([first, 1 - first], axis=1),
            prompt=rows.prompt,
            prompt_mask=rows.prompt_mask,
            weight=decided.astype(jnp.float32),
            behaviour_log_prob=behaviour,
        )

    def collect(key: Array, params: PyTree, previous: PyTree, reference: PyTree) -> Collected:
        prompt_key, sample_key, label_key = jax.random.split(key, 3)
        table = env_params.prompt
        prompt = table[jax.random.randint(prompt_key, (config.num_prompts,), 0, table.shape[0])]
        models = {"current": params, "previous": previous, "reference": reference}
        keys = jax.random.split(sample_key, len(parts))
        drawn = [answers(key, prompt, who, models) for key, who in zip(keys, parts, strict=True)]
        token, mask, behaviour = (jnp.concatenate(x, axis=1) for x in zip(*drawn, strict=True))
        scores, preference = judged(prompt, token, mask)
        rows = GroupBatch(token, mask, scores[..., None], prompt, prompt != PAD, behaviour_log_prob=behaviour)
        if config.loss not in SCORED:
            rows = pair_up(label_key, rows, preference)
        log_prob = functools.partial(
            completion_log_prob,
            model,
            prompt=prompt,
            prompt_mask=prompt != PAD,
            token=rows.action,
            mask=rows.mask,
        )
        base = log_prob(reference)
        if config.refresh_reference:
            base = geometric_reference(base, log_prob(previous), config.reference_weight)
        rows = rows._replace(reference_log_prob=base)
        gold = env.score(prompt[:, None], token, mask, env_params)
        metrics = {"gold": gold.mean(), "score": scores.mean(), "length": jnp.sum(mask, axis=-1).mean()}
        return Collected(rows, (token[:, 0], mask[:, 0]), metrics)

    return collect


def _preference(score: Array) -> Array:
    """Bradley and Terry's, of log-odds: `[N, G]` -> `[N, G, G]`."""
    return jax.nn.sigmoid(score[:, :, None] - score[:, None])


def _nonzero(number: Any) -> bool:
    """Whether a setting is in use; one that is traced is."""
    return not isinstance(number, int | float) or number != 0
