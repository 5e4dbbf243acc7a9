"""Kernels that improve a policy: surrogates, divergences, entropies, actor-critic losses, direct alignment."""

from rlx.policy.actor_critic import awr_weights, sac_policy_loss, sac_temperature_loss, smooth_action
from rlx.policy.alignment import (
    bco_loss,
    cpl_loss,
    cpo_loss,
    dpo_loss,
    ipo_loss,
    kl_baseline,
    kto_loss,
    orpo_loss,
    pairwise_preference_loss,
    sequence_score,
    simpo_loss,
)
from rlx.policy.distribution import (
    categorical_entropy,
    categorical_kl,
    gaussian_entropy,
    gaussian_kl,
    tanh_log_det,
)
from rlx.policy.gflownet import order_loss_pair, order_loss_pareto, tb_log_reward
from rlx.policy.link import link_loss, link_prob
from rlx.policy.sequence import sequence_log_prob, token_log_prob, top_k_entropy, top_k_mass
from rlx.policy.surrogate import (
    adapt_kl_coefficient,
    clip_fraction,
    kl_estimate,
    policy_gradient_loss,
    ppo_clip_loss,
    ppo_kl_loss,
)

__all__ = [
    "adapt_kl_coefficient",
    "awr_weights",
    "bco_loss",
    "categorical_entropy",
    "categorical_kl",
    "clip_fraction",
    "cpl_loss",
    "cpo_loss",
    "dpo_loss",
    "gaussian_entropy",
    "gaussian_kl",
    "ipo_loss",
    "kl_baseline",
    "kl_estimate",
    "kto_loss",
    "link_loss",
    "link_prob",
    "order_loss_pair",
    "order_loss_pareto",
    "orpo_loss",
    "pairwise_preference_loss",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "ppo_kl_loss",
    "sac_policy_loss",
    "sac_temperature_loss",
    "sequence_log_prob",
    "sequence_score",
    "simpo_loss",
    "smooth_action",
    "tanh_log_det",
    "tb_log_reward",
    "token_log_prob",
    "top_k_entropy",
    "top_k_mass",
]
