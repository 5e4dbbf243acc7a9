"""Direct alignment from preferences: any pair loss by its name, or one of the reader's (DPO, IPO, SimPO, KTO, ...).

A language model that imitates is the reference; here it learns from answers of which one was preferred. The reference's
log-probabilities are computed once and are part of the data:

    data = with_reference(model, reference, data)
    algorithm = offline_alignment.make(Config(loss="ipo", beta=0.3), env, model=model, reference=reference)
    run = runtime.fit(algorithm, total_steps=2_000, data=data)

Where answers have scores and no comparisons, the rows are a `GroupBatch` and the loss is one of `SCORED` (CoPG, ...).

Numbers of the configuration may be traced, so that a sweep over beta and seeds is one program:

    make = functools.partial(offline_alignment.make, env=env, model=model, reference=reference)
    run = runtime.sweep(make, Config(), total_steps=2_000, over={"beta": [0.1, 0.3, 1.0]}, data=data)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets.language import PAD, LanguageModel, completion_log_prob, completion_logits, mix_heads
from rlx.policy import (
    aot_loss,
    bco_loss,
    best_worst_pair,
    cpl_loss,
    cpo_loss,
    dpo_loss,
    ipo_loss,
    kl_baseline,
    kto_loss,
    leave_one_out_advantage,
    modpo_loss,
    orpo_loss,
    p3o_loss,
    pairwise_preference_loss,
    prdp_loss,
    reward_difference_loss,
    sequence_policy_loss,
    sequence_score,
    simpo_loss,
    token_log_prob,
)
from rlx.policy.objectives import balance
from rlx.policy.scored import PairClip
from rlx.space import ACTION_MASK, from_gymnax
from rlx.types import Algorithm, Array, Channel, Environment, GroupBatch, Policy, PreferenceBatch, PyTree

# (log-probabilities of the policy [N, 2, T] or [N, G, T], the rows [N, ...], the configuration) -> losses [N]
Loss = Callable[[Array, Any, Any], Array]

LossName = Literal[
    "dpo", "cdpo", "rdpo", "fdpo_js", "fdpo_alpha", "ipo", "slic", "rso", "exo", "simpo", "orpo", "cpo", "cpl", "sppo",
    "nca", "bco_pair", "apo_zero", "apo_down", "discopop", "aot", "modpo", "kto", "bco",
    "copg", "rebel", "rloo", "p3o", "p3o_joint", "prdp",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What a loss of preferences or scores is, and how it is descended; offline and online."""

    loss: LossName = "dpo"  # see LOSSES and SCORED
    learning_rate: float = 1e-3  # of Adam; 1e-3 to 3e-3: usual for models of this size
    max_grad_norm: float = 1.0  # longer gradients are scaled down to it
    beta: float | None = None  # strength of the reference, or scale of the score; None: the method's own
    smoothing: float = 0.1  # of labels, in "cdpo"
    flip_prob: float = 0.1  # share of labels that "rdpo" takes to be wrong
    margin: float = 1.0  # of "simpo", in scaled scores; 1: the paper has 0.6 to 1.6
    likelihood: float = 0.0  # weight of the chosen one's negative log-likelihood, beside losses of pairs
    bias: float = 0.5  # of "cpl"; 0.5: the paper
    alpha: float = 0.5  # of "fdpo_alpha"
    undesirable_weight: float = 1.0  # of disliked answers in "kto" and "bco", where liked ones have 1
    compared_weight: float = 0.5  # of the objective that was compared, in "modpo"; the others' rewards are in `factor`
    clip: float = 0.2  # of a sequence's ratio in "rloo" and "p3o", of a token's log-ratio in "prdp"

    def __post_init__(self) -> None:
        check.require(self.loss in get_args(LossName), "loss", self.loss, f"one of {get_args(LossName)}")
        for name in ("learning_rate", "max_grad_norm"):
            check.positive(name, getattr(self, name))
        if self.beta is not None:
            check.positive("beta", self.beta)
        for name in ("smoothing", "flip_prob", "bias", "alpha"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("likelihood", "undesirable_weight"):
            check.in_range(name, getattr(self, name), 0.0)
        check.in_range("compared_weight", self.compared_weight, 0.0, 1.0, open_low=True)
        check.in_range("clip", self.clip, 0.0, 1.0, open_low=True, open_high=True)


@dataclasses.dataclass(frozen=True)
class Config(LossConfig):
    """Settings of offline alignment. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int | None = 128  # rows in a gradient step, drawn anew for each; None: all of them, in their order

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            check.count("batch_size", self.batch_size)


class State(NamedTuple):
    """Everything that it remembers between updates."""

    params: PyTree
    optimiser: PyTree
    shift: Array  # [] mean implicit reward of recent rows, "bco"'s; 0 for the others
    key: Array


def _pairwise(beta: float, *, reference: bool = True, **settings: Any) -> Loss:
    """A setting of the general loss; settings may be functions of the configuration and beta."""

    def loss(log_prob: Array, rows: PreferenceBatch, config: Any) -> Array:
        strength = beta if config.beta is None else config.beta
        given = {name: value(config, strength) if callable(value) else value for name, value in settings.items()}
        base = rows.reference_log_prob if reference else None
        return pairwise_preference_loss(
            log_prob, rows.mask, rows.target[:, 0], base, beta=strength, likelihood=config.likelihood, **given
        )

    return loss


def _named(
    function: Callable[..., Array], number: str, default: float, reference: bool = True, **settings: Any
) -> Loss:
    """A named loss, whose one `number` is the configuration's beta."""

    def loss(log_prob: Array, rows: PreferenceBatch, config: Any) -> Array:
        given = {name: value(config) for name, value in settings.items()}
        given[number] = default if config.beta is None else config.beta
        base = (rows.reference_log_prob,) if reference else ()
        return function(log_prob, rows.mask, rows.target[:, 0], *base, **given) + _nll(log_prob, rows, config)

    return loss


def _nll(log_prob: Array, rows: PreferenceBatch, config: Any) -> Array:
    total = jnp.sum(jnp.where(rows.mask, log_prob, 0), axis=-1)
    return -config.likelihood * jnp.sum(rows.target * total, axis=-1)


def _beta(config: Any) -> Any:
    """Of the methods whose default is 0.1."""
    return 0.1 if config.beta is None else config.beta


def _modpo(log_prob: Array, rows: PreferenceBatch, config: Any) -> Array:
    if rows.factor is None:
        raise ValueError("data.factor must be the rewards [B, 2, F] of the other objectives for loss 'modpo'; got None")
    weight = config.compared_weight
    other = (1 - weight) * jnp.mean(rows.factor, axis=-1)
    pair = log_prob, rows.mask, rows.target[:, 0], rows.reference_log_prob
    return modpo_loss(*pair, other, weight, beta=_beta(config)) + _nll(log_prob, rows, config)


def _regression(weight: Callable[[Any], Any]) -> Loss:
    """Differences of log-ratios on differences of rewards; the weight of it, by beta, is the method's."""

    def loss(log_prob: Array, rows: GroupBatch, config: Any) -> Array:
        beta = _beta(config)
        score = sequence_score(log_prob, rows.mask, rows.reference_log_prob)
        each = reward_difference_loss(score, jnp.sum(rows.reward, axis=-1), beta=beta)
        return weight(beta) * jnp.mean(each, axis=-1)

    return loss


def _priced(rows: GroupBatch, config: Any) -> Array:
    """Rewards `[N, G]` less the price of the sampler's divergence from the reference."""
    behind = sequence_score(rows.behaviour_log_prob, rows.mask, rows.reference_log_prob)
    return jnp.sum(rows.reward, axis=-1) - _beta(config) * behind


def _rloo(log_prob: Array, rows: GroupBatch, config: Any) -> Array:
    advantage = leave_one_out_advantage(_priced(rows, config))
    each = sequence_policy_loss(log_prob, rows.mask, advantage, rows.behaviour_log_prob, clip=config.clip)
    return jnp.mean(each, axis=-1)


def _p3o(how: PairClip) -> Loss:
    def loss(log_prob: Array, rows: GroupBatch, config: Any) -> Array:
        reward = _priced(rows, config)
        return p3o_loss(log_prob, rows.mask, reward, rows.behaviour_log_prob, clip=config.clip, how=how)

    return loss


def _prdp(log_prob: Array, rows: GroupBatch, config: Any) -> Array:
    reward, rest = jnp.sum(rows.reward, axis=-1), (rows.reference_log_prob, rows.behaviour_log_prob)
    each = prdp_loss(log_prob, rows.mask, reward, *rest, beta=_beta(config), clip=config.clip)
    return jnp.mean(each, axis=-1)


# by name; the number is the default of beta (tau, temperature, weight)
LOSSES: dict[str, Loss] = {
    "dpo": _named(dpo_loss, "beta", 0.1),
    "cdpo": _named(dpo_loss, "beta", 0.1, smoothing=lambda c: c.smoothing),
    "rdpo": _named(dpo_loss, "beta", 0.1, flip_prob=lambda c: c.flip_prob),
    "fdpo_js": _pairwise(0.1, divergence="js"),
    "fdpo_alpha": _pairwise(0.1, divergence="alpha", alpha=lambda c, _: c.alpha),
    "ipo": _named(ipo_loss, "tau", 0.1),
    "slic": _pairwise(1.0, reference=False, link="hinge"),
    "rso": _pairwise(0.1, link="hinge"),
    "exo": _pairwise(0.1, link="exo", smoothing=1e-3),
    "simpo": _named(simpo_loss, "beta", 2.0, False, margin=lambda c: c.margin),
    "orpo": _named(orpo_loss, "weight", 0.1, False),
    "cpo": _named(cpo_loss, "beta", 0.1, False),
    "cpl": _named(cpl_loss, "temperature", 0.1, False, bias=lambda c: c.bias),
    "sppo": _pairwise(0.1, link="sppo", weight=lambda _, beta: 1 / jnp.square(beta)),
    "nca": _pairwise(0.1, link="nca"),
    "bco_pair": _pairwise(0.1, link="bco"),
    "apo_zero": _pairwise(0.1, link="apo_zero"),
    "apo_down": _pairwise(0.1, link="apo_down"),
    "discopop": _pairwise(0.1, link="discopop"),
    "aot": _named(aot_loss, "beta", 0.1),
    "modpo": _modpo,
}
UNPAIRED = ("kto", "bco")  # of single answers; they need more than the rows
# of groups of answers with rewards; the default of beta is 0.1, a price of divergence in units of the reward
SCORED: dict[str, Loss] = {
    "copg": _regression(lambda beta: beta / 2),
    "rebel": _regression(jnp.square),
    "rloo": _rloo,
    "p3o": _p3o("separate"),
    "p3o_joint": _p3o("joint"),
    "prdp": _prdp,
}
ON_SAMPLES = ("rloo", "p3o", "p3o_joint", "prdp")  # which need to know how likely answers were when they were sampled
REFERENCE_FREE = ("slic", "simpo", "orpo", "cpo", "cpl")
SHIFT_DECAY = 0.99  # of "bco"'s running mean, per gradient step


def with_reference(
    model: LanguageModel, reference: PyTree, data: PreferenceBatch | GroupBatch, chunk: int = 1024
) -> Any:
    """The data with `reference_log_prob` of every candidate, computed `chunk` rows at a time."""
    check.count("chunk", chunk)
    rows = data.mask.shape[0]
    prompt, prompt_mask = _prompt(data)
    score = jax.jit(lambda *rows: completion_log_prob(model, reference, *rows))
    parts = [
        score(*(x[start : start + chunk] for x in (prompt, prompt_mask, data.action, data.mask)))
        for start in range(0, rows, chunk)
    ]
    return data._replace(reference_log_prob=jnp.concatenate(parts))


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    model: LanguageModel,
    reference: PyTree,
    loss: Loss | None = None,
) -> Algorithm:
    """Preference training of `model` from the parameters `reference`; `env` is a token environment and never stepped.

    `update(state, data)` is a gradient step on rows of `data`, a `PreferenceBatch` of two candidates: `prompt` and
    token ids `action` with their masks, `target`, and `reference_log_prob` (`with_reference`) unless the loss needs
    none; or a `GroupBatch`, for the losses of `SCORED`. `weight` multiplies the losses of rows, but for "aot", which
    sorts them. "kto" and "bco" take answers one by one, as liked as `binary` says, or else `target`; KTO compares with
    what the reference says of answers to other rows' prompts. An update counts as one step: `fit(..., total_steps=n,
    data=data)` takes n gradient steps.

    A model with several heads (`with_heads` makes their parameters) learns one objective with each: `principle`,
    one-hot `[B, H]`, says by which a row was judged, and objectives count equally however many rows they have. Its
    policy has equal weights of heads; `language_policy` and `sample` take others by `mix`, when it answers.

    Args:
      loss: one of the reader's own in place of `config.loss`; it sees all fields of the rows, which are groups if
        `config.loss` is of groups.

    Raises:
      ValueError: for a model of another vocabulary; in `update`, without data, or for data that lack what the loss
        reads.
    """
    params = env.default_params if env_params is None else env_params
    size = from_gymnax(env.action_space(params)).n
    check.require(size == model.vocabulary, "model.vocabulary", model.vocabulary, f"the environment's, {size}")
    step = learner(config, model, loss)
    kind = "a GroupBatch" if config.loss in SCORED else "a PreferenceBatch of pairs"

    def init(key: Array) -> State:
        params = jax.tree.map(jnp.copy, reference)
        return State(params, step.optimiser.init(params), jnp.zeros(()), key)

    def update(state: State, data: PreferenceBatch | GroupBatch | None = None) -> tuple[State, dict[str, Any]]:
        if data is None:
            raise ValueError(f"data must be {kind}; got None: fit(..., data=...)")
        key, row_key = jax.random.split(state.key)
        if config.batch_size is not None:
            row = jax.random.randint(row_key, (config.batch_size,), 0, data.mask.shape[0])
            data = jax.tree.map(lambda x: x[row], data)
        params, opt_state, shift, metrics = step.learn(state.params, state.optimiser, state.shift, data, reference)
        return State(params, opt_state, shift, key), metrics

    def with_learned(state: State, learned: PyTree) -> State:
        params, opt_state, shift = learned
        return state._replace(params=params, optimiser=opt_state, shift=shift)

    return Algorithm(
        init,
        update,
        lambda state: language_policy(model, state.params),
        1,
        (Channel("reward"),),
        lambda state: (state.params, state.optimiser, state.shift),
        with_learned,
    )


class Learner(NamedTuple):
    """A gradient step on rows, which online alignment takes as well."""

    optimiser: Any
    # (params, optimiser's state, shift, rows, reference, more loss) -> params, state, shift, metrics
    learn: Callable[..., tuple[PyTree, PyTree, Array, dict[str, Any]]]


def learner(config: LossConfig, model: LanguageModel, loss: Loss | None = None) -> Learner:
    """The step of `config.loss`, or of the reader's; parameters of the reference are read by "kto" alone."""
    optimiser = optax.flatten(
        optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate))
    )
    name = config.loss if loss is None else None
    scored = config.loss in SCORED
    paired = model.heads == 1 or not (scored or name in UNPAIRED)
    check.require(paired, "loss", config.loss, "one of pairs, for a model with several heads")
    beta = _beta(config)  # of "kto" and "bco"

    def policy_log_prob(params: PyTree, rows: Any, *prompt: Array) -> Array:
        """`[N, 2, T]` or `[N, G, T]`, of each head `[N, 2, T, H]`."""
        logits = completion_logits(model, params, *prompt, rows.action, rows.mask)
        if model.heads == 1:
            return token_log_prob(logits, rows.action, rows.mask)
        return jax.vmap(token_log_prob, (-2, None, None), -1)(logits, rows.action, rows.mask)

    def row_losses(params: PyTree, shift: Array, rows: Any, reference: PyTree) -> tuple[Array, Array]:
        prompt, prompt_mask = _prompt(rows)
        log_prob, weight = policy_log_prob(params, rows, prompt, prompt_mask), 1.0
        if model.heads > 1:
            log_prob, weight = _own_head(log_prob, rows)
        if name not in UNPAIRED:
            return weight * (loss or (LOSSES | SCORED)[config.loss])(log_prob, rows, config), log_prob
        liked = rows.target if rows.binary is None else rows.binary
        known = jnp.ones(liked.shape, bool) if rows.binary_mask is None else rows.binary_mask
        settings = {"beta": beta, "undesirable_weight": config.undesirable_weight}
        if name == "bco":
            each = bco_loss(log_prob, rows.mask, liked, rows.reference_log_prob, shift, **settings)
        else:
            other = [jnp.roll(x[:, 0], 1, axis=0) for x in (rows.action, rows.mask)]
            here, there = (completion_log_prob(model, p, prompt, prompt_mask, *other) for p in (params, reference))
            baseline = kl_baseline(here, other[1], there)
            each = kto_loss(log_prob, rows.mask, liked, rows.reference_log_prob, baseline, **settings)
        return jnp.sum(jnp.where(known, each, 0), axis=1), log_prob

    def objective(
        params: PyTree, shift: Array, rows: Any, reference: PyTree, extra: Any
    ) -> tuple[Array, dict[str, Any]]:
        losses, log_prob = row_losses(params, shift, rows, reference)
        # the losses of "aot" are of ranks, not of rows
        weight = jnp.ones(losses.shape) if rows.weight is None or name == "aot" else rows.weight
        total = jnp.mean(weight * losses)
        metrics = {"loss": total, **_report(log_prob, rows, weight)}
        return total if extra is None else total + extra(params), metrics

    def learn(
        params: PyTree,
        opt_state: PyTree,
        shift: Array,
        rows: PreferenceBatch | GroupBatch,
        reference: PyTree = None,
        extra: Callable[[PyTree], Array] | None = None,
    ) -> tuple[PyTree, PyTree, Array, dict[str, Any]]:
        if scored:
            named = f"a GroupBatch for {config.loss!r}"
            check.require(isinstance(rows, GroupBatch), "data", type(rows).__name__, named)
        else:
            named = f"a PreferenceBatch for {config.loss!r}"
            check.require(isinstance(rows, PreferenceBatch), "data", type(rows).__name__, named)
            check.require(rows.target.shape[1:] == (2,), "data.target", rows.target.shape, "of shape [B, 2]")
        if rows.reference_log_prob is None and name is not None and name not in REFERENCE_FREE:
            raise ValueError(f"data.reference_log_prob must be given for loss {name!r}, see with_reference; got None")
        if rows.behaviour_log_prob is None and name in ON_SAMPLES:
            raise ValueError(f"data.behaviour_log_prob must be given for loss {name!r}, see Sample.log_prob; got None")
        grads, metrics = jax.grad(objective, has_aux=True)(params, shift, rows, reference, extra)
        updates, opt_state = optimiser.update(grads, opt_state, params)
        if name == "bco":
            shift = SHIFT_DECAY * shift + (1 - SHIFT_DECAY) * beta * metrics["log_ratio"]
        return optax.apply_updates(params, updates), opt_state, shift, metrics

    return Learner(optimiser, learn)


def _own_head(log_prob: Array, rows: PreferenceBatch) -> tuple[Array, Array]:
    """Of each row the head of its objective, and its weight: objectives count the same however many rows they have."""
    heads = log_prob.shape[-1]
    if rows.principle is None or rows.principle.shape[-1:] != (heads,):
        raise ValueError(f"data.principle must say one-hot which of the {heads} heads a row is for, [B, {heads}]")
    own = jnp.einsum("bcth,bh->bct", log_prob, rows.principle)
    objective = jnp.where(jnp.any(rows.principle > 0, axis=1), jnp.argmax(rows.principle, axis=1), -1)
    return own, balance(objective, heads)


def _report(log_prob: Array, rows: Any, weight: Array) -> dict[str, Array]:
    """How the likelihood of both candidates moves: a margin may grow while both fall (likelihood displacement).

    Of a group they are the best and the worst.
    """
    log_prob, base = jax.lax.stop_gradient(log_prob), rows.reference_log_prob
    ratio = None if base is None else jnp.mean(sequence_score(log_prob, rows.mask, base), axis=1)
    if isinstance(rows, GroupBatch):
        index, gap = best_worst_pair(jnp.sum(rows.reward, axis=-1))
        pick = lambda x: None if x is None else jnp.take_along_axis(x, index[..., None], axis=1)  # noqa: E731
        target = jnp.broadcast_to(jnp.array([1.0, 0.0]), index.shape)
        rows = PreferenceBatch(None, None, pick(rows.mask), target, reference_log_prob=pick(base))
        log_prob, base, weight = pick(log_prob), rows.reference_log_prob, weight * (gap > 0)
    mean = lambda x: jnp.sum(weight * x) / jnp.maximum(jnp.sum(weight), 1e-9)  # noqa: E731
    total = sequence_score(log_prob, rows.mask)
    chosen = jnp.sum(rows.target * total, axis=1)
    metrics = {"log_prob/chosen": mean(chosen), "log_prob/rejected": mean(jnp.sum(total, axis=1) - chosen)}
    score = total if base is None else sequence_score(log_prob, rows.mask, base)
    ahead = score[:, 0] - score[:, 1]
    metrics["accuracy"] = mean(jnp.where(ahead == 0, 0.5, (ahead > 0) == (rows.target[:, 0] > 0.5)))
    if ratio is not None:
        metrics["log_ratio"] = mean(ratio)
    return metrics


def _prompt(data: PreferenceBatch | GroupBatch) -> tuple[Array, Array]:
    for name in ("prompt", "action"):
        check.require(getattr(data, name) is not None, f"data.{name}", None, "token ids")
    return data.prompt, data.prompt != PAD if data.prompt_mask is None else data.prompt_mask


def language_policy(
    model: LanguageModel, params: PyTree, *, mix: Array | None = None, condition: Array | None = None
) -> Policy:
    """The policy of a language model in a token environment.

    Args:
      mix: `[H]`, weights of the model's heads, if it has several; by default equal.
      condition: `[E]`, what the model is told beside the tokens.
    """
    if mix is None and model.heads > 1:
        mix = jnp.full(model.heads, 1 / model.heads)

    def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
        del reset  # the observation holds all tokens
        token = obs["token"]
        given = token != PAD
        told = None if condition is None else jnp.broadcast_to(condition, (token.shape[0], *condition.shape))
        logits, _ = model.apply(params, token, given, None, told)
        last = token.shape[1] - 1 - jnp.argmax(given[:, ::-1], axis=1)
        logits = logits[jnp.arange(token.shape[0]), last]
        logits = mix_heads(logits, mix) if model.heads > 1 else logits
        logits = jnp.where(obs[ACTION_MASK], logits, -jnp.inf)
        action = jnp.argmax(logits, axis=-1) if greedy else jax.random.categorical(key, logits)
        return action.astype(jnp.int32), memory

    return Policy(lambda batch_size: (), act)
