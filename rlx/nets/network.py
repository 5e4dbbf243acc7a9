"""Networks that the algorithms share: observations in, feature vectors or heads out (flax linen)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlx.space import ACTION_MASK, Box, Dict, Discrete, MultiDiscrete, Space
from rlx.value import cosine_features

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "silu": nn.silu,
    "elu": nn.elu,
}


class Inputs(NamedTuple):
    """An observation as networks take it; parts that it lacks are None."""

    vector: jax.Array | None  # float32 [..., D]
    image: jax.Array | None  # float32 [..., H, W, C]
    mask: jax.Array | None  # bool [..., A]: which actions are legal

    def beside(self, more: jax.Array) -> Inputs:
        """The same with `more` numbers `[..., N]` at the end of the vector."""
        return self._replace(vector=more if self.vector is None else jnp.concatenate([self.vector, more], axis=-1))


def prepare(space: Space, obs: Any) -> Inputs:
    """Flatten `obs` into one vector and one image: boxes of rank 3 are images, integers become one-hot.

    Several images must have the same height and width; their channels are concatenated. Leading (batch) axes are kept.
    """
    vectors, images, mask = [], [], None
    parts = space.spaces if isinstance(space, Dict) else {"": space}
    for name, part in parts.items():
        value = obs[name] if isinstance(space, Dict) else obs
        if name == ACTION_MASK:
            mask = value.astype(bool)
        elif isinstance(part, Dict):
            inner = prepare(part, value)
            vectors += [] if inner.vector is None else [inner.vector]
            images += [] if inner.image is None else [inner.image]
        elif isinstance(part, Discrete):
            vectors.append(jax.nn.one_hot(value, part.n))
        elif isinstance(part, MultiDiscrete):
            vectors += [jax.nn.one_hot(value[..., i], n) for i, n in enumerate(part.nvec)]
        elif len(part.shape) == 3:
            images.append(value.astype(jnp.float32))
        else:
            batch = value.shape[: value.ndim - len(part.shape)]
            vectors.append(value.reshape(*batch, -1).astype(jnp.float32))
    join = lambda xs: xs[0] if len(xs) == 1 else jnp.concatenate(xs, axis=-1) if xs else None  # noqa: E731
    return Inputs(join(vectors), join(images), mask)


def vector_size(space: Space) -> int:
    """`D` of the vector that `prepare` makes; 0 if it makes none."""
    parts = space.spaces if isinstance(space, Dict) else {"": space}
    size = 0
    for name, part in parts.items():
        if name == ACTION_MASK:
            continue
        if isinstance(part, Dict):
            size += vector_size(part)
        elif isinstance(part, Discrete):
            size += part.n
        elif isinstance(part, MultiDiscrete):
            size += sum(part.nvec)
        elif isinstance(part, Box) and len(part.shape) != 3:
            length = 1
            for n in part.shape:
                length *= n
            size += length
    return size


class MLP(nn.Module):
    """Dense layers, each followed by (layer normalisation and) the activation."""

    sizes: Sequence[int]
    activation: str = "tanh"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for size in self.sizes:
            x = nn.Dense(size, kernel_init=orthogonal(2**0.5))(x)
            if self.layer_norm:
                x = nn.LayerNorm()(x)
            x = ACTIVATIONS[self.activation](x)
        return x


class Conv3x3(nn.Module):
    """A 3x3 convolution without padding, of small images `[N, H, W, C]`; batch last: `[features, H - 2, W - 2, N]`.

    On CPU it is nine shifted slices and one matrix product: the backward pass of XLA's convolution is about ten times
    slower there for MinAtar's 10x10 images. With the batch last the normalisation and activation that follow run along
    it, not along a few channels. Elsewhere it is XLA's convolution; the parameters are the same.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        height, width, channels = x.shape[1:]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (9 * channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))[:, None, None, None]
        if jax.default_backend() == "cpu":
            x = jnp.transpose(x, (3, 1, 2, 0))
            patches = [x[:, i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
            y = kernel.T @ jnp.concatenate(patches).reshape(9 * channels, -1)
            return y.reshape(self.features, height - 2, width - 2, -1) + bias
        kernel = kernel.reshape(3, 3, channels, self.features)
        layout = ("NHWC", "HWIO", "CHWN")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout) + bias


class Torso(nn.Module):
    """Features of an observation: images through one 3x3 convolution, then everything through an MLP."""

    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    layer_norm: bool = False
    conv_features: int = 16

    @nn.compact
    def __call__(self, inputs: Inputs) -> jax.Array:
        parts = [] if inputs.vector is None else [inputs.vector]
        if inputs.image is not None:
            batch, image = inputs.image.shape[:-3], inputs.image.shape[-3:]
            x = Conv3x3(self.conv_features)(inputs.image.reshape(-1, *image))
            if self.layer_norm:
                x = nn.LayerNorm(reduction_axes=0, feature_axes=0)(x)
            x = ACTIVATIONS[self.activation](x)
            parts.append(x.reshape(-1, x.shape[-1]).T.reshape(*batch, -1))
        x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return MLP(self.hidden, self.activation, self.layer_norm)(x)


class Network(nn.Module):
    """A torso, an optional gated recurrent memory, and a linear head, on sequences `[T, B, ...]`.

    `__call__(inputs, carry, reset) -> (outputs [T, B, num_outputs], carries)`. Without memory `carry` is `()` and
    ignored. With it `carry` is `[B, memory]`, `reset [T, B]` is true where an observation is the first of an episode
    (the memory is emptied *before* that observation is read), and `carries [T, B, memory]` is the memory after each
    step.
    """

    num_outputs: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    layer_norm: bool = False
    conv_features: int = 16
    memory: int = 0
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, inputs: Inputs, carry: Any, reset: jax.Array | None) -> tuple[jax.Array, Any]:
        # one batch axis: XLA contracts two of them at half the speed on CPU
        batch = jax.tree.leaves(inputs._replace(mask=None))[0].shape[:2]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), inputs)
        x = Torso(self.hidden, self.activation, self.layer_norm, self.conv_features)(flat)
        carries: Any = ()
        if self.memory:

            def step(cell: nn.GRUCell, carry: jax.Array, xs: Any) -> tuple[jax.Array, jax.Array]:
                features, first = xs
                carry, _ = cell(jnp.where(first[:, None], 0.0, carry), features)
                return carry, carry

            scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
            _, carries = scan(nn.GRUCell(self.memory), carry, (x.reshape(*batch, -1), reset))
            x = carries.reshape(-1, self.memory)
        head = nn.Dense(self.num_outputs, kernel_init=orthogonal(self.output_scale))
        return head(x).reshape(*batch, -1), carries

    @nn.nowrap
    def init(self, key: jax.Array, inputs: Inputs, carry: Any, reset: jax.Array | None) -> Any:
        """Parameters: kernels orthogonal, with gain sqrt 2 in the torso, 1 in the memory, `output_scale` in the head;
        else flax's.

        All kernels come of one draw: a draw for each would take much longer to compile.
        """
        gains = {"Torso_0": 2**0.5, "Dense_0": self.output_scale}
        params = super().init(key, inputs, carry, reset)  # whose own kernels are never computed under jit
        paths, tree = jax.tree_util.tree_flatten_with_path(params)
        sizes = [leaf.size if _is_kernel(path) else 0 for path, leaf in paths]
        draw = jax.random.normal(key, (sum(sizes),))
        parts = jnp.split(draw, list(itertools.accumulate(sizes))[:-1])
        leaves = [
            gains.get(path[1].key, 1.0) * _orthogonal(part.reshape(leaf.shape)) if _is_kernel(path) else leaf
            for (path, leaf), part in zip(paths, parts, strict=True)
        ]
        return jax.tree.unflatten(tree, leaves)

    def initial_carry(self, batch_size: int) -> Any:
        """Empty memory: zeros `[batch_size, memory]`, or `()`."""
        return jnp.zeros((batch_size, self.memory)) if self.memory else ()


class QuantileNetwork(nn.Module):
    """Quantiles at levels that are asked for: features of the observation times features of the level, and a head.

    `__call__(inputs, levels) -> outputs [B, M, num_outputs]`, for levels `[B, M]` in (0, 1). Source: Dabney et al.,
    "Implicit Quantile Networks for Distributional Reinforcement Learning" (2018).
    """

    num_outputs: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    layer_norm: bool = False
    conv_features: int = 16
    frequencies: int = 64  # of the cosines of the level

    @nn.compact
    def __call__(self, inputs: Inputs, levels: jax.Array) -> jax.Array:
        x = Torso(self.hidden, self.activation, self.layer_norm, self.conv_features)(inputs)
        embed = nn.Dense(x.shape[-1], kernel_init=orthogonal(2**0.5))
        x = x[..., None, :] * nn.relu(embed(cosine_features(levels, self.frequencies)))
        return nn.Dense(self.num_outputs, kernel_init=orthogonal(1.0))(x)


def _is_kernel(path: Any) -> bool:
    return path[-1].key == "kernel"


def orthogonal(scale: float) -> Any:
    """An initialiser of kernels, for flax: orthonormal rows or columns, whichever are fewer, times `scale`."""
    return lambda key, shape, dtype=jnp.float32: scale * _orthogonal(jax.random.normal(key, shape, dtype))


def _orthogonal(normal: jax.Array) -> jax.Array:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed if the entries of `normal` are normal.

    By Gram and Schmidt's method, twice for each column, in place of a library's factorisation: on the CPU two batches
    of these at once (an actor's kernels and a critic's, of several seeds) take all threads of a small machine to wait
    for each other, and the program hangs.
    """
    wide = normal.shape[0] < normal.shape[1]
    columns = normal.T if wide else normal

    def add(i: jax.Array, found: jax.Array) -> jax.Array:
        column = columns[:, i]
        for _ in range(2):
            along = jnp.matmul(found.T, column, precision="highest")
            column -= jnp.matmul(found, along, precision="highest")
        return found.at[:, i].set(column / jnp.linalg.norm(column))

    found = jax.lax.fori_loop(0, columns.shape[1], add, jnp.zeros_like(columns))
    return found.T if wide else found
