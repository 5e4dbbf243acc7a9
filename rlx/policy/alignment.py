"""Direct alignment: losses by which a policy learns from preferences, without a reward model.

`log_prob[..., t]` is the policy's of each token (`token_log_prob`) or action, `reference` that of the policy it is to
stay near, as constants, and `mask` says which count. A pair has its two candidates on the axis before the last, in no
order: `target` is the probability that the first is the better one, `batch.target[:, 0]`. Losses are per row; the
caller averages.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.link import Link, corrected_target, link_loss
from rlx.policy.sequence import widened
from rlx.types import Array

Divergence = Literal["reverse_kl", "js", "alpha", "odds"]
PairLink = Literal[Link, "exo", "discopop", "nca", "bco", "apo_zero", "apo_down", "sppo"]

POINTWISE = ("nca", "bco", "apo_zero", "sppo")  # losses of two scores, not of their difference
MAX_EXPONENT = 80.0  # exp(80) = 5e34 is finite in single precision
DISCOPOP_TEMPERATURE = 0.05  # of the loss as it was found


def sequence_score(
    log_prob: Array,
    mask: Array,
    reference: Array | None = None,
    *,
    mean: bool = False,
    divergence: Divergence = "reverse_kl",
    alpha: Array | float = 0.5,
) -> Array:
    """What a policy thinks of a sequence: its implicit reward, over beta and up to a constant of the prompt.

        rho = sum_t m_t (log p_t - log r_t),   score = phi(rho)

    `r` is the reference, 1 without one; with `mean` rho is divided by the number of tokens. `phi` is the derivative of
    the divergence from the reference that the policy trades against reward:

    - "reverse_kl": `rho`
    - "js": `log sigmoid(rho)`
    - "alpha": `(1 - exp(-alpha rho)) / alpha`; at alpha = 1 the forward KL's, towards 0 that of "reverse_kl"
    - "odds": `rho - log(1 - exp rho)`, the log-odds of a probability; without a reference only

    Shapes: `[..., T]`, bool `[..., T]`, `[..., T]` -> `[...]`. Differentiated: `log_prob`; `reference` is stopped. An
    exponent is cut at 80 and a log-probability for the odds at just below 0, where the gradient ends.

    Usual mistake: the mean where the method takes the sum, which changes beta by the length.

    >>> mask = jnp.array([True, True, False])
    >>> sequence_score(jnp.array([-1.0, -2.0, jnp.nan]), mask, jnp.array([-1.0, -1.0, 0.0])).item()
    -1.0

    Raises:
      ValueError: for shapes that differ, an unknown divergence, `alpha` outside (0, 1], or "odds" with a reference.

    Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (2023);
    Wang et al., "Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints"
    (2024); Hong et al., "ORPO: Monolithic Preference Optimization without Reference Model" (2024) for the odds.
    """
    check.require(divergence in get_args(Divergence), "divergence", divergence, f"one of {get_args(Divergence)}")
    check.in_range("alpha", alpha, 0.0, 1.0, open_low=True)
    check.require(divergence != "odds" or reference is None, "reference", "an array", "None for 'odds'")
    rho = _total(log_prob, mask, reference, mean)
    if divergence == "js":
        rho = jax.nn.log_sigmoid(rho)
    elif divergence == "alpha":
        alpha = jnp.asarray(alpha, rho.dtype)
        rho = -jnp.expm1(jnp.minimum(-alpha * rho, MAX_EXPONENT)) / alpha
    elif divergence == "odds":
        rho = jnp.minimum(rho, -jnp.finfo(rho.dtype).eps)
        rho = rho - jnp.log(-jnp.expm1(rho))
    return rho.astype(jnp.result_type(log_prob))


def pairwise_preference_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array | None = None,
    *,
    link: PairLink = "logistic",
    beta: Array | float = 0.1,
    mean: bool = False,
    divergence: Divergence = "reverse_kl",
    alpha: Array | float = 0.5,
    bias: Array | float = 1.0,
    margin: Array | float = 0.0,
    weight: Array | float = 1.0,
    smoothing: Array | float = 0.0,
    flip_prob: Array | float = 0.0,
    likelihood: Array | float = 0.0,
    tail: Array | float = 1.0,
) -> Array:
    """The loss of a preference between two sequences under a policy; direct alignment's methods are its settings.

        s = sequence_score(log_prob, mask, reference),  a = beta s_w,  b = beta s_l,  z = a - bias b - margin
        L(w, l) = link's loss,  t' = (1 - smoothing) t + smoothing (1 - t),  t'' = (t' - flip_prob) / (1 - 2 flip_prob)
        loss = weight (t'' L(1, 2) + (1 - t'') L(2, 1)) + likelihood NLL(chosen)

    The margin is by how much the preferred one has to be ahead, so it changes sign in the term of the other order.
    `flip_prob` is here what it is to `rlx.reward.preference_loss` with `unbiased`: the clean loss in the mean over
    flips, not the likelihood of noisy labels.
    `NLL(chosen) = -(t r_1 + (1 - t) r_2)` with r the sum (the mean) of log-probabilities. Tokens of the longer
    candidate past the length of the shorter one count `tail` times in its score, the reference's with them. Links:

    - of `z`: "logistic", "probit", "hinge", "square" as in `link_loss`; "discopop": `-log sigmoid(z)` turned into
      `exp(-z)` by the share `sigmoid(z / 0.05)`; "exo": `KL(sigmoid(+-z) || t'')`
    - of `a` and `b`: "nca" `-log sigmoid(a) - (log sigmoid(-a) + log sigmoid(-b)) / 2`; "bco" `-log sigmoid(a) -
      log sigmoid(-b)`; "apo_zero" `sigmoid(-a) + sigmoid(b)`; "apo_down" `sigmoid(a) + sigmoid(-z)`; "sppo"
      `(a - 1/2)^2 + (b + 1/2)^2`

    Settings, beyond those that have a name (`dpo_loss`, `ipo_loss`, `simpo_loss`, `cpo_loss`, `orpo_loss`, `cpl_loss`):
    cDPO `smoothing = e`; robust DPO `flip_prob = e`; f-DPO `divergence`; LD-DPO `tail`; SLiC "hinge" without and RSO
    with a reference;
    EXO "exo" with `smoothing = 1e-3`; RPO `likelihood`; MODPO `beta / w_k` and the other objectives' weighted reward
    difference over `w_k` as `margin`; SPPO "sppo" with `weight = 1 / beta^2`; DNO a soft target with the last policy as
    reference; INPO that of IPO with a geometric mixture of reference and last policy.

    Args:
      log_prob: `[..., 2, T]`.
      mask: bool `[..., 2, T]`.
      target: `[...]` in [0, 1].
      reference: `[..., 2, T]`, or None for a method without one.
      link, mean, divergence, alpha: see above and `sequence_score`.
      beta, bias, margin, weight, smoothing, flip_prob, likelihood, tail: numbers, or arrays that broadcast to `[...]`.

    Returns:
      The loss, `[...]`. Its gradient goes to `log_prob` alone. The implicit reward of a candidate is `beta` times
      `sequence_score`.

    Usual mistakes: to call the loss non-negative, which it is not with `flip_prob`; to read a falling loss as a rising
    likelihood of the chosen one, when both usually fall; and to put the chosen one first while `target` says otherwise.

    >>> log_prob, mask = jnp.array([[-1.0], [-2.0]]), jnp.ones((2, 1), bool)
    >>> loss = pairwise_preference_loss(log_prob, mask, jnp.array(1.0), link="hinge", beta=0.5)
    >>> loss.item(), pairwise_preference_loss(log_prob[::-1], mask, jnp.array(0.0), link="hinge", beta=0.5).item()
    (0.5, 0.5)

    Raises:
      ValueError: for shapes that differ, no axis of two candidates, an unknown link or divergence, a number out of
        range, "exo" without smoothing or with a bias or `flip_prob`, or a margin or bias for a link that has no `z`.

    Source: as the named settings, and Azar et al., "A General Theoretical Paradigm to Understand Learning from Human
    Preferences" (2024); Chowdhury et al., "Provably Robust DPO: Aligning Language Models with Noisy Feedback" (2024);
    Ji et al., "Towards Efficient Exact Optimization of Language Model Alignment" (2024); Chen et al., "Noise
    Contrastive Alignment of Language Models with Explicit Rewards" (2024); D'Oosterlinck et al., "Anchored Preference
    Optimization and Contrastive Revisions" (2024); Wu et al., "Self-Play Preference Optimization for Language Model
    Alignment" (2024); Lu et al., "Discovering Preference Optimization Algorithms with and for Large Language Models"
    (2024); Liu et al., "Length Desensitization in Direct Preference Optimization" (2024) for `tail`.
    """
    check.require(link in get_args(PairLink), "link", link, f"one of {get_args(PairLink)}")
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 2 and shape[-2] == 2, "log_prob", shape, "of shape [..., 2, T]")
    check.require(jnp.shape(target) == shape[:-2], "target", jnp.shape(target), f"of shape {shape[:-2]}")
    for name, value in (("target", target), ("smoothing", smoothing), ("tail", tail)):
        check.in_range(name, value, 0.0, 1.0)
    check.in_range("flip_prob", flip_prob, 0.0, 0.5, open_high=True)
    check.positive("beta", beta)
    check.in_range("bias", bias, 0.0, 1.0, open_low=True)
    if link in (*POINTWISE, "exo"):
        check.require(isinstance(bias, int | float) and bias == 1, "bias", bias, f"1 for link {link!r}")
    if link in POINTWISE:
        check.require(isinstance(margin, int | float) and margin == 0, "margin", margin, f"0 for link {link!r}")
    if link == "exo":
        check.in_range("smoothing", smoothing, 0.0, 1.0, open_low=True, open_high=True)
        check.require(isinstance(flip_prob, int | float) and flip_prob == 0, "flip_prob", flip_prob, "0 for link 'exo'")

    scored, scored_reference = widened(log_prob), reference
    if not (isinstance(tail, int | float) and tail == 1):
        share = _share(mask, tail)
        scored = scored * share
        scored_reference = None if reference is None else widened(reference) * share
    score = sequence_score(scored, mask, scored_reference, mean=mean, divergence=divergence, alpha=alpha)
    target, beta, bias, margin, weight, smoothing, flip_prob, likelihood = (
        jax.lax.stop_gradient(jnp.asarray(x, score.dtype))
        for x in (target, beta, bias, margin, weight, smoothing, flip_prob, likelihood)
    )
    label = corrected_target(target, smoothing, flip_prob)
    ahead = margin * jnp.sign(2 * target - 1)
    first, second = beta * score[..., 0], beta * score[..., 1]
    forward = _pair_loss(link, first, second, first - bias * second - ahead, label)
    backward = _pair_loss(link, second, first, second - bias * first + ahead, 1 - label)
    loss = weight * (label * forward + (1 - label) * backward)
    log_likelihood = _total(log_prob, mask, None, mean)
    loss -= likelihood * (target * log_likelihood[..., 0] + (1 - target) * log_likelihood[..., 1])
    return loss.astype(jnp.result_type(log_prob))


def dpo_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array,
    *,
    beta: Array | float = 0.1,
    smoothing: Array | float = 0.0,
    flip_prob: Array | float = 0.0,
) -> Array:
    """Direct preference optimisation: `-log sigmoid(beta (rho_w - rho_l))`, rho the log-ratio to the reference.

    With `smoothing` it is conservative DPO, whose minimum is at a finite margin, `logit(1 - smoothing)`; with
    `flip_prob` robust DPO, in the mean over labels of which that share is wrong the loss of the clean ones.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]`, `[..., 2, T]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: reference log-probabilities computed with dropout on, so that the loss does not start at `log 2`.

    >>> log_prob, mask = jnp.array([[-1.0, -2.0], [-3.0, -1.0]]), jnp.ones((2, 2), bool)
    >>> round(float(dpo_loss(log_prob, mask, jnp.array(1.0), log_prob)), 4)
    0.6931

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (2023);
    Chowdhury et al., "Provably Robust DPO: Aligning Language Models with Noisy Feedback" (2024) for `flip_prob`.
    """
    return pairwise_preference_loss(
        log_prob, mask, target, reference, beta=beta, smoothing=smoothing, flip_prob=flip_prob
    )


def ipo_loss(
    log_prob: Array, mask: Array, target: Array, reference: Array, *, tau: Array | float = 0.1, mean: bool = False
) -> Array:
    """Identity preference optimisation: `(rho_w - rho_l - 1 / (2 tau))^2`, a margin to be met, not exceeded.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]`, `[..., 2, T]` -> `[...]`. Differentiated: `log_prob`. The paper
    takes sums; some implementations divide by the lengths, which is `mean`.

    Usual mistake: tau taken over from one of the two to the other.

    >>> log_prob, mask = jnp.array([[-1.0], [-3.0]]), jnp.ones((2, 1), bool)
    >>> ipo_loss(log_prob, mask, jnp.array(1.0), jnp.zeros((2, 1)), tau=0.25).item()
    0.0

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences" (2024).
    """
    check.positive("tau", tau)
    double = 2 * jax.lax.stop_gradient(widened(tau))
    settings = {"beta": double, "weight": 1 / double**2, "mean": mean}
    return pairwise_preference_loss(log_prob, mask, target, reference, link="square", **settings)


def simpo_loss(
    log_prob: Array, mask: Array, target: Array, *, beta: Array | float = 2.0, margin: Array | float = 1.0
) -> Array:
    """Simple preference optimisation: `-log sigmoid(beta (mean_t log p_w - mean_t log p_l) - margin)`, no reference.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: DPO's beta of 0.1, when means are smaller than sums by the length.

    >>> log_prob, mask = jnp.array([[-1.0, -2.0], [-2.0, 0.0]]), jnp.array([[True, True], [True, False]])
    >>> round(float(simpo_loss(log_prob, mask, jnp.array(1.0))), 4)  # 2 (-1.5 + 2) - 1 = 0
    0.6931

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Meng et al., "SimPO: Simple Preference Optimization with a Reference-Free Reward" (2024).
    """
    return pairwise_preference_loss(log_prob, mask, target, beta=beta, margin=margin, mean=True)


def cpo_loss(
    log_prob: Array, mask: Array, target: Array, *, beta: Array | float = 0.1, likelihood: Array | float = 1.0
) -> Array:
    """Contrastive preference optimisation: DPO with a uniform reference, and the likelihood of the chosen one.

        -log sigmoid(beta (log p_w - log p_l)) - likelihood log p_w

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: to leave out the second term, without which nothing keeps the policy near the data.

    >>> log_prob, mask = jnp.array([[-1.0], [-1.0]]), jnp.ones((2, 1), bool)
    >>> round(float(cpo_loss(log_prob, mask, jnp.array(1.0))), 4)
    1.6931

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Xu et al., "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine
    Translation" (2024).
    """
    return pairwise_preference_loss(log_prob, mask, target, beta=beta, likelihood=likelihood)


def orpo_loss(log_prob: Array, mask: Array, target: Array, *, weight: Array | float = 0.1) -> Array:
    """Odds-ratio preference optimisation: the chosen one's mean likelihood, and a small weight on the ratio of odds.

        -v_w - weight log sigmoid(odds(v_w) - odds(v_l)),   v = mean_t log p,   odds(v) = v - log(1 - exp v)

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: `log(1 - exp(v))` of a likely sequence, which is minus infinity once exp(v) rounds to 1.

    >>> log_prob, mask = jnp.array([[-1.0], [-1.0]]), jnp.ones((2, 1), bool)
    >>> round(float(orpo_loss(log_prob, mask, jnp.array(1.0))), 4)
    1.0693

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Hong et al., "ORPO: Monolithic Preference Optimization without Reference Model" (2024).
    """
    settings = {"beta": 1.0, "weight": weight, "likelihood": 1.0, "mean": True}
    return pairwise_preference_loss(log_prob, mask, target, divergence="odds", **settings)


def cpl_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array | None = None,
    *,
    temperature: Array | float = 0.1,
    bias: Array | float = 0.5,
) -> Array:
    """Contrastive preference learning: of two segments of behaviour the one with less regret was preferred.

        -log sigmoid(temperature (sum_t log p_w - bias sum_t log p_l))

    At the optimum `temperature log p` is the advantage of an action. A bias below 1 keeps the policy on what the data
    hold: between policies with the same differences it prefers the likelier segments. `reference` makes it CPL-KL.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]`, None or `[..., 2, T]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: the bias on the candidate in second place, when it belongs on the one not preferred.

    >>> log_prob, mask = jnp.array([[-1.0], [-2.0]]), jnp.ones((2, 1), bool)
    >>> [round(float(cpl_loss(log_prob, mask, jnp.array(t))), 4) for t in (1.0, 0.0)]
    [0.6931, 0.771]

    Raises:
      ValueError: as `pairwise_preference_loss`.

    Source: Hejna et al., "Contrastive Preference Learning: Learning from Human Feedback without RL" (2024).
    """
    return pairwise_preference_loss(log_prob, mask, target, reference, beta=temperature, bias=bias)


def aot_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array,
    *,
    beta: Array | float = 0.1,
    smoothing: Array | float = 0.0,
    paired: bool = True,
) -> Array:
    """Alignment by optimal transport: the whole batch of margins is to lie above the reference's, rank by rank.

        z_i = beta (sort_B(v_w - v_l)_i - sort_B(u_w - u_l)_i)   paired, v the policy's sums, u the reference's
        z_i = beta (sort_B(rho_w)_i - sort_B(rho_l)_i)           not paired, rho = v - u
        loss_i = -(1 - smoothing) log sigmoid(z_i) - smoothing log sigmoid(-z_i)

    Sorting joins the rows of a batch: `loss_i` belongs to a rank and not to row i, and micro-batches have another
    loss than the whole. All rows count, so there is no padding of the batch.

    Shapes: `[B, 2, T]`, bool `[B, 2, T]`, `[B]`, `[B, 2, T]` -> `[B]` in rising order of the margins. Differentiated:
    `log_prob`. The first is the chosen one where `target >= 1/2`.

    Usual mistake: to shuffle unpaired answers into pairs for `paired`, which compares other margins.

    >>> log_prob = jnp.array([[[-1.0], [-1.0]], [[-2.0], [-4.0]]])
    >>> mask, target = jnp.ones((2, 2, 1), bool), jnp.ones(2)
    >>> [round(x, 4) for x in aot_loss(log_prob, mask, target, jnp.zeros((2, 2, 1)), beta=1.0).tolist()]
    [0.6931, 0.1269]

    Raises:
      ValueError: for shapes that differ or are not `[B, 2, T]`, or a number out of range.

    Source: Melnyk et al., "Distributional Preference Alignment of LLMs via Optimal Transport" (2024).
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) == 3 and shape[1] == 2, "log_prob", shape, "of shape [B, 2, T]")
    check.require(jnp.shape(target) == shape[:1], "target", jnp.shape(target), f"of shape {shape[:1]}")
    check.in_range("target", target, 0.0, 1.0)
    check.in_range("smoothing", smoothing, 0.0, 1.0)
    check.positive("beta", beta)
    check.same_shape(log_prob=log_prob, reference=reference)
    policy, base = _total(log_prob, mask, None, False), jax.lax.stop_gradient(_total(reference, mask, None, False))
    first = jax.lax.stop_gradient(jnp.asarray(target)) >= 0.5
    swap = lambda x: jnp.where(first[:, None], x, x[:, ::-1])  # noqa: E731
    policy, base = swap(policy), swap(base)
    if paired:
        ahead = jnp.sort(policy[:, 0] - policy[:, 1]) - jnp.sort(base[:, 0] - base[:, 1])
    else:
        ahead = jnp.sort(policy[:, 0] - base[:, 0]) - jnp.sort(policy[:, 1] - base[:, 1])
    beta, smoothing = (jax.lax.stop_gradient(jnp.asarray(x, ahead.dtype)) for x in (beta, smoothing))
    loss = -(1 - smoothing) * jax.nn.log_sigmoid(beta * ahead) - smoothing * jax.nn.log_sigmoid(-beta * ahead)
    return loss.astype(jnp.result_type(log_prob))


def value_bias_term(
    log_prob: Array,
    mask: Array,
    reference: Array | None = None,
    *,
    coefficient: Array | float,
    mean: bool = False,
) -> Array:
    """Optimism or pessimism about what the data do not show, to be added to a pair loss.

        coefficient (sum_t log p_t - log r_t)    of a sequence from the calibration distribution

    If implicit rewards `beta log(p / r)` are shifted to have mean zero under that distribution, the value of the best
    policy for them is minus `beta` times the mean of `log(p / r)` there. So with `coefficient > 0` a loss prefers
    rewards under which much can be gained (optimism, for exploring), with `coefficient < 0` those under which little
    can (pessimism, for data that are fixed). Settings: SELM `alpha beta`, sequences of the last policy, which is the
    reference; XPO `alpha`, sequences of the reference, without `reference`; VPO online `alpha beta`, offline
    `-alpha beta` and chosen sequences; RPO (DPO with the likelihood of the chosen) the same, or `mean` in its code.

    Shapes: `[..., T]`, bool `[..., T]`, `[..., T]`, `coefficient` broadcasts to `[...]` -> `[...]`. Differentiated:
    `log_prob`.

    Usual mistake: the sign. Optimism *lowers* the likelihood of the calibration sequences.

    >>> value_bias_term(jnp.array([-1.0, -2.0]), jnp.ones(2, bool), coefficient=0.5).item()
    -1.5

    Raises:
      ValueError: for shapes that differ, or a coefficient that is not finite.

    Source: Cen et al., "Value-Incentivized Preference Optimization" (2025); Zhang et al., "Self-Exploring Language
    Models" (2024); Xie et al., "Exploratory Preference Optimization" (2024); Liu et al., "Provably Mitigating
    Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer" (2024).
    """
    check.in_range("coefficient", coefficient)
    rho = _total(log_prob, mask, reference, mean)
    return (jax.lax.stop_gradient(jnp.asarray(coefficient, rho.dtype)) * rho).astype(jnp.result_type(log_prob))


def kl_baseline(log_prob: Array, mask: Array, reference: Array) -> Array:
    """KTO's point of reference: how far the policy has moved, `max(0, mean_b rho_b)` over unrelated sequences.

    The sequences are the batch's completions against each other's prompts (rolled by one). It joins the rows of a
    batch: for micro-batches compute it over the whole first, and across devices take the mean before the maximum.

    Shapes: `[B, T]`, bool `[B, T]`, `[B, T]` -> a scalar. Differentiated: nothing.

    Usual mistake: to roll a batch of identical prompts, whose pairs are then not unrelated.

    >>> kl_baseline(jnp.array([[1.0], [2.0]]), jnp.ones((2, 1), bool), jnp.zeros((2, 1))).item()
    1.5

    Raises:
      ValueError: for shapes that differ or are not `[B, T]`.

    Source: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization" (2024).
    """
    check.rank("log_prob", log_prob, 2)
    rho = jnp.mean(_total(log_prob, mask, reference, mean=False))
    return jax.lax.stop_gradient(jnp.maximum(rho, 0)).astype(jnp.result_type(log_prob))


def kto_loss(
    log_prob: Array,
    mask: Array,
    desirable: Array,
    reference: Array,
    baseline: Array | float,
    *,
    beta: Array | float = 0.1,
    desirable_weight: Array | float = 1.0,
    undesirable_weight: Array | float = 1.0,
) -> Array:
    """Kahneman-Tversky optimisation: of a sequence that was liked or not, without another to compare it with.

        d desirable_weight sigmoid(-v) + (1 - d) undesirable_weight sigmoid(v),   v = beta (rho - baseline)

    `baseline` is `kl_baseline` of the batch, which couples its rows; given it, the loss is per row.

    Shapes: `[..., T]`, bool `[..., T]`, `[...]` in [0, 1], `[..., T]`, `baseline` broadcasts -> `[...]`.
    Differentiated: `log_prob`.

    Usual mistake: equal weights for classes of unequal size; keep `desirable_weight` times their number at 1 to 4/3
    times that of the others.

    >>> zeros, mask = jnp.zeros((2, 1)), jnp.ones((2, 1), bool)
    >>> kto_loss(zeros, mask, jnp.array([1.0, 0.0]), zeros, 0.0, undesirable_weight=2.0).tolist()
    [0.5, 1.0]

    Raises:
      ValueError: for shapes that do not fit, or a number out of range.

    Source: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization" (2024).
    """
    beta = _unpaired_beta(beta, desirable, log_prob, desirable_weight, undesirable_weight)
    v = beta * (_total(log_prob, mask, reference, mean=False) - jax.lax.stop_gradient(widened(baseline)))
    losses = jax.nn.sigmoid(-v), jax.nn.sigmoid(v)
    return _unpaired(losses, desirable, desirable_weight, undesirable_weight).astype(jnp.result_type(log_prob))


def bco_loss(
    log_prob: Array,
    mask: Array,
    desirable: Array,
    reference: Array,
    shift: Array | float,
    *,
    beta: Array | float = 0.1,
    desirable_weight: Array | float = 1.0,
    undesirable_weight: Array | float = 1.0,
) -> Array:
    """Binary classifier optimisation: the implicit reward is the logit of whether a sequence was liked.

        -d desirable_weight log sigmoid(v) - (1 - d) undesirable_weight log sigmoid(-v),   v = beta rho - shift

    `shift` is a running mean of the rewards `beta rho` of both classes, which the caller keeps.

    Shapes: `[..., T]`, bool `[..., T]`, `[...]` in [0, 1], `[..., T]`, `shift` broadcasts -> `[...]`. Differentiated:
    `log_prob`.

    Usual mistake: a shift over beta, as KTO's baseline is; here it is of rewards.

    >>> zeros, mask = jnp.zeros((2, 1)), jnp.ones((2, 1), bool)
    >>> [round(x, 4) for x in bco_loss(zeros, mask, jnp.array([1.0, 0.0]), zeros, 0.0).tolist()]
    [0.6931, 0.6931]

    Raises:
      ValueError: for shapes that do not fit, or a number out of range.

    Source: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment" (2024).
    """
    beta = _unpaired_beta(beta, desirable, log_prob, desirable_weight, undesirable_weight)
    v = beta * _total(log_prob, mask, reference, mean=False) - jax.lax.stop_gradient(widened(shift))
    losses = -jax.nn.log_sigmoid(v), -jax.nn.log_sigmoid(-v)
    return _unpaired(losses, desirable, desirable_weight, undesirable_weight).astype(jnp.result_type(log_prob))


def _pair_loss(link: str, a: jax.Array, b: jax.Array, z: jax.Array, label: jax.Array) -> jax.Array:
    """Of the order in which the first is better."""
    log_sigmoid, sigmoid = jax.nn.log_sigmoid, jax.nn.sigmoid
    if link == "exo":  # the same for both orders, so any mixture of them is the divergence
        first, second = log_sigmoid(z), log_sigmoid(-z)
        return sigmoid(z) * (first - jnp.log(label)) + sigmoid(-z) * (second - jnp.log1p(-label))
    if link == "discopop":
        share = z / DISCOPOP_TEMPERATURE
        return -log_sigmoid(z) * sigmoid(-share) + jnp.exp(log_sigmoid(share) - z)
    if link == "nca":
        return -log_sigmoid(a) - (log_sigmoid(-a) + log_sigmoid(-b)) / 2
    if link == "bco":
        return -log_sigmoid(a) - log_sigmoid(-b)
    if link == "apo_zero":
        return sigmoid(-a) + sigmoid(b)
    if link == "apo_down":
        return sigmoid(a) + sigmoid(-z)
    if link == "sppo":
        return jnp.square(a - 0.5) + jnp.square(b + 0.5)
    return link_loss(z, link)  # pyright: ignore[reportArgumentType]


def _share(mask: Array, tail: Array | float) -> jax.Array:
    """How much each token counts: `tail` past the length of the shorter candidate."""
    mask = jnp.asarray(mask, bool)
    place = jnp.cumsum(mask, axis=-1)
    shared = jnp.min(place[..., -1:], axis=-2, keepdims=True)
    tail = jax.lax.stop_gradient(widened(tail))
    return jnp.where(place <= shared, 1, tail[..., None, None])


def _total(log_prob: Array, mask: Array, reference: Array | None, mean: bool) -> jax.Array:
    check.same_shape(log_prob=log_prob, mask=mask, **({} if reference is None else {"reference": reference}))
    mask = jnp.asarray(mask, bool)
    term = jnp.where(mask, widened(log_prob), 0)
    if reference is not None:
        term -= jax.lax.stop_gradient(jnp.where(mask, widened(reference), 0))
    total = jnp.sum(term, axis=-1)
    return total / jnp.maximum(jnp.sum(mask, axis=-1), 1) if mean else total


def _unpaired_beta(
    beta: Array | float, desirable: Array, log_prob: Array, desirable_weight: Array | float, other: Array | float
) -> jax.Array:
    shape = jnp.shape(log_prob)[:-1]
    check.require(jnp.shape(desirable) == shape, "desirable", jnp.shape(desirable), f"of shape {shape}")
    check.in_range("desirable", desirable, 0.0, 1.0)
    check.positive("beta", beta)
    check.in_range("desirable_weight", desirable_weight, 0.0)
    check.in_range("undesirable_weight", other, 0.0)
    return jax.lax.stop_gradient(widened(beta))


def _unpaired(
    losses: tuple[jax.Array, jax.Array], desirable: Array, desirable_weight: Array | float, other: Array | float
) -> jax.Array:
    liked, weight, other = (
        jax.lax.stop_gradient(jnp.asarray(x, losses[0].dtype)) for x in (desirable, desirable_weight, other)
    )
    return liked * weight * losses[0] + (1 - liked) * other * losses[1]
