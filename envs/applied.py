"""Small models of applications: a ride-hailing fleet that is dispatched as one."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step
from rlx.envs.tabular import draw
from rlx.types import Array

PICKUP = 1  # blocks that a driver may go to fetch a passenger


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FleetParams:
    """The demand, so that a batch of different days can be vmapped over."""

    rate: Any  # [T, Z, Z]: expected orders in each slot, from where, to where
    max_steps_in_episode: Any  # slots

    def replace(self, **changes: Any) -> FleetParams:
        return dataclasses.replace(self, **changes)


class FleetState(NamedTuple):
    zone: Array  # int32 [D], where each driver is, or is going
    free_at: Array  # int32 [D], the slot from which it can be given something to do
    order: Array  # int32 [O, 2], from where and to where; open in this slot alone
    open: Array  # bool [O]
    time: Array  # int32 [], slots since the reset


class Fleet:
    """A fleet of drivers in a city of `size x size` zones, through a day of slots of ten minutes; income is shared.

    Passengers appear at random, as `rate` says, and leave if not served in the same slot. An order of distance b blocks
    pays `2 + b` and takes `1 + b` slots, and one more for each block that the driver comes from, at most `PICKUP`.
    The action has a number for each driver: `i < orders` serves the i-th order, `orders + z` goes to zone z, which
    takes as many slots as blocks; to the zone where it is, it waits a slot. Drivers on their way take no notice; an
    order that is not there or too far is waiting; of several drivers for one order the first takes it.

    The reward is the sum of the fares accepted, `info["offered"]` that of all open orders, which bounds it; a day's
    optimum is not known. After the last slot the day terminates, so nothing is worth anything then.

    Args:
      rate: `[T, Z, Z]`, see `demand`; T is the number of slots of a day.
      drivers: number of drivers, who start in zones drawn uniformly.
      orders: how many orders a slot can hold; further ones are lost.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, rate: Any, *, size: int = 5, drivers: int = 40, orders: int = 40):
        check.count("size", size, 2)
        check.count("drivers", drivers)
        check.count("orders", orders)
        zones = size**2
        shape = (np.shape(rate)[0], zones, zones)
        check.require(np.shape(rate) == shape, "the shape of rate", np.shape(rate), f"[T, Z, Z] with Z = {zones}")
        check.in_range("rate", rate, 0.0)
        self.size, self.drivers, self.orders, self.slots, self.zones = size, drivers, orders, shape[0], zones
        row, column = np.divmod(np.arange(zones), size)
        self.distance = np.abs(row[:, None] - row) + np.abs(column[:, None] - column)  # [Z, Z], in blocks
        self.default_params = FleetParams(jnp.asarray(rate, jnp.float32), jnp.asarray(self.slots, jnp.int32))

    def reset_env(self, key: Array, params: FleetParams) -> tuple[dict[str, Array], FleetState]:
        zone_key, order_key = jax.random.split(key)
        zone = jax.random.randint(zone_key, (self.drivers,), 0, self.zones, jnp.int32)
        time = jnp.zeros((), jnp.int32)
        order, is_open = self._arrivals(order_key, params.rate[0])
        state = FleetState(zone, jnp.zeros(self.drivers, jnp.int32), order, is_open, time)
        return self._observe(state), state

    def step_env(
        self, key: Array, state: FleetState, action: Array, params: FleetParams
    ) -> tuple[dict[str, Array], FleetState, Array, Array, dict[str, Any]]:
        asks = self.feasible(state).T & (action[:, None] == jnp.arange(self.orders))  # [D, O]
        serves = asks & (jnp.cumsum(asks, axis=0) == 1)
        matched, which = serves.any(1), serves.argmax(1)
        free = state.free_at <= state.time
        goes = free & ~matched & (action >= self.orders)
        to = jnp.where(goes, action - self.orders, state.zone)
        to = jnp.where(matched, state.order[which, 1], to).astype(jnp.int32)
        slots = jnp.where(matched, self.durations(state)[which, jnp.arange(self.drivers)], self.blocks(state.zone, to))
        free_at = jnp.where(free, state.time + jnp.maximum(slots, 1), state.free_at).astype(jnp.int32)
        fare = self.fares(state)
        reward = jnp.sum(matched * fare[which])
        info = {"offered": jnp.sum(state.open * fare), "served": serves.any(0)}
        time = state.time + 1
        order, is_open = self._arrivals(key, params.rate[jnp.minimum(time, self.slots - 1)])
        state = FleetState(to, free_at, order, is_open, time)
        return self._observe(state), state, reward, time >= self.slots, info

    def blocks(self, a: Array, b: Array) -> Array:
        """The distance between zones."""
        return jnp.asarray(self.distance)[a, b]

    def fares(self, state: FleetState) -> Array:
        """`[O]`, of orders that are open; the others have no meaning."""
        return 2.0 + self.blocks(state.order[:, 0], state.order[:, 1])

    def durations(self, state: FleetState) -> Array:
        """Slots `[O, D]` that an order takes a driver, the way to the passenger included."""
        pickup = self.blocks(state.order[:, :1], state.zone[None])
        return 1 + self.blocks(state.order[:, 0], state.order[:, 1])[:, None] + pickup

    def feasible(self, state: FleetState) -> Array:
        """Bool `[O, D]`: which driver can serve which order."""
        near = self.blocks(state.order[:, :1], state.zone[None]) <= PICKUP
        return near & state.open[:, None] & (state.free_at <= state.time)

    def observation_space(self, params: Any = None) -> space.Dict:
        del params
        zones, drivers, orders = self.zones - 1, (self.drivers,), (self.orders, 2)
        return space.Dict(
            {
                "zone": space.Box(0, zones, drivers, jnp.int32),
                "busy": space.Box(0, np.inf, drivers, jnp.int32),
                "order": space.Box(0, zones, orders, jnp.int32),
                "open": space.Box(0, 1, orders[:1], jnp.bool_),
                "time": space.Box(0, self.slots, (), jnp.int32),
            }
        )

    def action_space(self, params: Any = None) -> space.MultiDiscrete:
        del params
        return space.MultiDiscrete((self.orders + self.zones,) * self.drivers)

    def _observe(self, state: FleetState) -> dict[str, Array]:
        busy = jnp.maximum(state.free_at - state.time, 0)
        return {"zone": state.zone, "busy": busy, "order": state.order, "open": state.open, "time": state.time}

    def _arrivals(self, key: Array, rate: Array) -> tuple[Array, Array]:
        count_key, place_key = jax.random.split(key)
        count = jax.random.poisson(count_key, rate.sum())
        pair = jax.vmap(draw, (0, None))(jax.random.split(place_key, self.orders), rate.ravel())
        return jnp.stack(jnp.divmod(pair, self.zones), -1), jnp.arange(self.orders) < count


def demand(
    size: int = 5, slots: int = 144, *, per_slot: float = 8.0, event: tuple[int, int, int, float] | None = None
) -> np.ndarray:
    """Expected orders `[T, Z, Z]` of a day: into the middle in the morning, out of it in the evening.

    `per_slot` is the day's mean over slots. An event `(zone, first, last, orders)` adds `orders` per slot out of one
    zone to anywhere, from slot `first` up to `last`.
    """
    check.count("size", size, 2)
    check.count("slots", slots)
    check.positive("per_slot", per_slot)
    zones = size**2
    row, column = np.divmod(np.arange(zones), size)
    middle = np.exp(-((row - (size - 1) / 2) ** 2 + (column - (size - 1) / 2) ** 2) / 2.0)
    centre, homes = middle / middle.sum(), (1.1 - middle) / (1.1 - middle).sum()
    hour = 24 * np.arange(slots) / slots
    rush = [np.exp(-((hour - at) ** 2) / 4.0) for at in (8.0, 18.0)]
    level = 0.3 * (hour > 6) + 0.1
    rate = (
        rush[0][:, None, None] * np.outer(homes, centre)
        + rush[1][:, None, None] * np.outer(centre, homes)
        + level[:, None, None] / zones**2
    )
    rate *= per_slot * slots / rate.sum()
    if event is not None:
        zone, first, last, orders = event
        check.require(0 <= zone < zones, "zone of the event", zone, f"from 0 to {zones - 1}")
        check.in_range("orders of the event", orders, 0.0)
        rate[first:last, zone] += orders / zones
    return rate


def fleet(size: int = 5, *, drivers: int = 40, orders: int = 40, **demands: Any) -> Fleet:
    """A fleet with the day of `demand`."""
    return Fleet(demand(size, **demands), size=size, drivers=drivers, orders=orders)
