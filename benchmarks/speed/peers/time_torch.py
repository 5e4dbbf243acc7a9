"""The same update of implicit Q-learning in plain PyTorch, one seed after the other. Run by the peer's Python.

Eager operations and the library's own optimiser; the log lies in tensors, rows are drawn by an index, and nothing is
copied to the host inside the timed part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.meter import Meter, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """The score is the critics' mean loss in the last tenth of the gradient steps."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(spec["cores"]))
    settings, updates = spec["settings"], spec["updates"]
    with np.load(spec["log"]) as file:
        rows = {name: torch.from_numpy(file[name]).flatten(0, 1) for name in file.files if file[name].ndim > 1}
    obs, following, reward = rows["obs"].float(), rows["next_obs"].float(), rows["reward"]
    action, goes_on = rows["action"].long(), (~rows["terminated"]).float()
    num_actions = int(action.max()) + 1

    def linear(inputs: int, outputs: int, scale: float) -> Any:
        layer = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(layer.weight, scale)  # as rlx begins, so that losses can be compared
        nn.init.zeros_(layer.bias)
        return layer

    def network(inputs: int, outputs: int, output_scale: float = 1.0) -> Any:
        layers, width = [], inputs
        for size in settings["hidden"]:
            layers += [linear(width, size, 2**0.5), nn.ReLU()]
            width = size
        return nn.Sequential(*layers, linear(width, outputs, output_scale))

    def train(seed: int) -> Any:
        torch.manual_seed(seed)
        actor, value = network(obs.shape[1], num_actions, 0.01), network(obs.shape[1], 1)
        critics = nn.ModuleList(network(obs.shape[1] + num_actions, 1) for _ in range(2))
        slow = nn.ModuleList(network(obs.shape[1] + num_actions, 1) for _ in range(2))
        slow.load_state_dict(critics.state_dict())
        optimiser = torch.optim.Adam(
            [*actor.parameters(), *value.parameters(), *critics.parameters()], lr=settings["learning_rate"]
        )
        losses = []
        for _ in range(updates):
            index = torch.randint(len(reward), (settings["batch_size"],))
            here, taken = obs[index], action[index]
            with_action = torch.cat([here, functional.one_hot(taken, num_actions).float()], 1)
            with torch.no_grad():
                least = torch.minimum(*(critic(with_action)[:, 0] for critic in slow))
                target = reward[index] + settings["discount"] * goes_on[index] * value(following[index])[:, 0]
            difference = least - value(here)[:, 0]
            weight = torch.where(difference < 0, 1 - settings["level"], settings["level"])
            value_loss = (weight * difference.square()).mean()
            errors = torch.stack([critic(with_action)[:, 0] - target for critic in critics])
            critic_loss = 0.5 * errors.square().mean(1).sum()
            imitation = torch.exp(settings["inverse_temperature"] * difference.detach()).clamp(max=100.0)
            log_prob = functional.log_softmax(actor(here), 1).gather(1, taken[:, None])[:, 0]
            optimiser.zero_grad()
            (value_loss + critic_loss - (imitation * log_prob).mean()).backward()
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(slow.parameters()), list(critics.parameters()), settings["tau"])
            losses.append(critic_loss.detach())
        return torch.stack(losses[-max(1, updates // 10) :]).mean()

    train(0)  # the first use of each operation sets it up: counted as compilation
    compile_lap = meter.lap()
    score = float(torch.stack([train(seed) for seed in range(spec["seeds"])]).mean())
    return {"compile": compile_lap, "run": meter.lap(), "steps": updates * spec["seeds"], "score": score}


if __name__ == "__main__":
    worker(measure)
