"""Kernels that improve a policy: surrogates, divergences, entropies, actor-critic losses, direct alignment."""

from rlx.policy.actor_critic import (
    awr_weights,
    sac_policy_loss,
    sac_temperature_loss,
    smooth_action,
    td3_bc_loss,
    tscac_weights,
)
from rlx.policy.alignment import (
    aot_loss,
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
    value_bias_term,
)
from rlx.policy.behaviour_tree import BehaviourTree, bt_mutate, bt_random, bt_size, bt_splice, bt_tick
from rlx.policy.conditioned import mi_energy_bound, select_future
from rlx.policy.diffusion import d3po_loss, denoise_log_prob, diffusion_dpo_loss, user_embedding
from rlx.policy.distribution import categorical_entropy, categorical_kl, gaussian_entropy, gaussian_kl, tanh_log_det
from rlx.policy.distribution_matching import f_dpg_loss, fit_gdc, log_partition
from rlx.policy.gflownet import order_loss_pair, order_loss_pareto, tb_log_reward
from rlx.policy.link import link_loss, link_prob
from rlx.policy.metric import length_controlled_win_rate, length_report, objective_mismatch, rank_correlation
from rlx.policy.nash import duality_gap, geometric_reference, mixture_logits, nash_md_loss, nash_step, win_rate
from rlx.policy.objectives import combine_heads, modpo_loss, multi_head_dpo_loss
from rlx.policy.pairs import anchored_future_pairs, best_worst_pair, drop_key_tokens, label_pair
from rlx.policy.scored import leave_one_out_advantage, p3o_loss, prdp_loss, reward_difference_loss, sequence_policy_loss
from rlx.policy.sequence import sequence_log_prob, token_log_prob, top_k_entropy, top_k_mass
from rlx.policy.supervised import filtered_bc_loss
from rlx.policy.surrogate import (
    adapt_kl_coefficient,
    clip_fraction,
    kl_estimate,
    normalise_advantage,
    policy_gradient_loss,
    ppo_clip_loss,
    ppo_kl_loss,
)

__all__ = [
    "BehaviourTree",
    "adapt_kl_coefficient",
    "anchored_future_pairs",
    "aot_loss",
    "awr_weights",
    "bco_loss",
    "best_worst_pair",
    "bt_mutate",
    "bt_random",
    "bt_size",
    "bt_splice",
    "bt_tick",
    "categorical_entropy",
    "categorical_kl",
    "clip_fraction",
    "combine_heads",
    "cpl_loss",
    "cpo_loss",
    "d3po_loss",
    "denoise_log_prob",
    "diffusion_dpo_loss",
    "dpo_loss",
    "drop_key_tokens",
    "duality_gap",
    "f_dpg_loss",
    "filtered_bc_loss",
    "fit_gdc",
    "gaussian_entropy",
    "gaussian_kl",
    "geometric_reference",
    "ipo_loss",
    "kl_baseline",
    "kl_estimate",
    "kto_loss",
    "label_pair",
    "leave_one_out_advantage",
    "length_controlled_win_rate",
    "length_report",
    "link_loss",
    "link_prob",
    "log_partition",
    "mi_energy_bound",
    "mixture_logits",
    "modpo_loss",
    "multi_head_dpo_loss",
    "nash_md_loss",
    "nash_step",
    "normalise_advantage",
    "objective_mismatch",
    "order_loss_pair",
    "order_loss_pareto",
    "orpo_loss",
    "p3o_loss",
    "pairwise_preference_loss",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "ppo_kl_loss",
    "prdp_loss",
    "rank_correlation",
    "reward_difference_loss",
    "sac_policy_loss",
    "sac_temperature_loss",
    "select_future",
    "sequence_log_prob",
    "sequence_policy_loss",
    "sequence_score",
    "simpo_loss",
    "smooth_action",
    "tanh_log_det",
    "tb_log_reward",
    "td3_bc_loss",
    "token_log_prob",
    "top_k_entropy",
    "top_k_mass",
    "tscac_weights",
    "user_embedding",
    "value_bias_term",
    "win_rate",
]
