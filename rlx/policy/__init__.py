"""Kernels that improve a policy: surrogates, divergences, entropies, actor-critic losses, sequences."""

from rlx.policy.actor_critic import awr_weights, sac_policy_loss, sac_temperature_loss, smooth_action
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
    "categorical_entropy",
    "categorical_kl",
    "clip_fraction",
    "gaussian_entropy",
    "gaussian_kl",
    "kl_estimate",
    "link_loss",
    "link_prob",
    "order_loss_pair",
    "order_loss_pareto",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "ppo_kl_loss",
    "sac_policy_loss",
    "sac_temperature_loss",
    "sequence_log_prob",
    "smooth_action",
    "tanh_log_det",
    "tb_log_reward",
    "token_log_prob",
    "top_k_entropy",
    "top_k_mass",
]
