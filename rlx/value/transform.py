"""Invertible squashings of a value, so that a network predicts moderate numbers: elementwise and odd."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def signed_hyperbolic(x: jax.Array, eps: float = 1e-3) -> jax.Array:
    """`sign(x) (sqrt(|x| + 1) - 1) + eps x`: a square root whose inverse is Lipschitz.

    Shapes: `[...]`. Differentiated: `x`. Transform the target after bootstrapping, `h(r + discount h^-1(Q))`, not the
    reward.

    >>> import jax.numpy as jnp
    >>> signed_hyperbolic(jnp.array([0.0, 8.0, -8.0]), eps=0.0).tolist()
    [0.0, 2.0, -2.0]

    Raises:
      ValueError: for `eps < 0`.

    Source: Pohlen et al., "Observe and Look Further: Achieving Consistent Performance on Atari" (2018).
    """
    check.in_range("eps", eps, 0.0)
    sign, size = _polar(x)
    return sign * size / (jnp.sqrt(size + 1.0) + 1.0) + eps * x  # sqrt(x + 1) - 1 without cancellation


def signed_parabolic(x: jax.Array, eps: float = 1e-3) -> jax.Array:
    """The inverse of `signed_hyperbolic` with the same `eps`.

    `sign(x) u (u + 2)` with `u` the positive root of `eps u^2 + (1 + 2 eps) u = |x|`, free of cancellation at either
    end.

    Shapes: `[...]`. Differentiated: `x`.

    >>> import jax.numpy as jnp
    >>> signed_parabolic(jnp.array([0.0, 2.0, -2.0]), eps=0.0).tolist()
    [0.0, 8.0, -8.0]

    Raises:
      ValueError: for `eps < 0`.

    Source: Pohlen et al., "Observe and Look Further: Achieving Consistent Performance on Atari" (2018).
    """
    check.in_range("eps", eps, 0.0)
    sign, size = _polar(x)
    slope = 1.0 + 2.0 * eps
    root = 2.0 * size / (slope + jnp.sqrt(slope**2 + 4.0 * eps * size))
    return sign * root * (root + 2.0)


def symlog(x: jax.Array) -> jax.Array:
    """`sign(x) log(1 + |x|)`: compresses rewards of any size.

    Shapes: `[...]`. Differentiated: `x`.

    >>> import jax.numpy as jnp
    >>> round(float(symlog(jnp.array(-1.0))), 4)
    -0.6931

    Source: Hafner et al., "Mastering Diverse Domains through World Models" (2023).
    """
    sign, size = _polar(x)
    return sign * jnp.log1p(size)


def symexp(x: jax.Array) -> jax.Array:
    """`sign(x) (exp(|x|) - 1)`, the inverse of `symlog`; overflows where the exponential does.

    Shapes: `[...]`. Differentiated: `x`.

    >>> import jax.numpy as jnp
    >>> round(float(symexp(symlog(jnp.array(3.0)))), 4)
    3.0

    Source: Hafner et al., "Mastering Diverse Domains through World Models" (2023).
    """
    sign, size = _polar(x)
    return sign * jnp.expm1(size)


def _polar(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sign and size, with the right derivative at 0, where those of `jnp.sign` and `jnp.abs` vanish."""
    return jnp.where(x < 0, -1.0, 1.0).astype(jnp.result_type(x)), jnp.where(x < 0, -x, x)
