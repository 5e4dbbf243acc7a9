"""The few flax networks that algorithms share; kernels never see them."""

from rlx.nets.network import ACTIVATIONS, MLP, Conv3x3, Inputs, Network, Torso, prepare, vector_size

__all__ = ["ACTIVATIONS", "MLP", "Conv3x3", "Inputs", "Network", "Torso", "prepare", "vector_size"]
