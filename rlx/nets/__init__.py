"""The few flax networks that algorithms share; kernels never see them."""

from rlx.nets.network import ACTIVATIONS, MLP, Conv3x3, Inputs, Network, QuantileNetwork, Torso, prepare, vector_size
from rlx.nets.value_head import HeadKind, ValueHead, value_head

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Conv3x3",
    "HeadKind",
    "Inputs",
    "Network",
    "QuantileNetwork",
    "Torso",
    "ValueHead",
    "prepare",
    "value_head",
    "vector_size",
]
