"""Adam's parameter groups, and the average of the weights that a run leaves (EMA)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codec.errors import TrainingError
from training.config import TrainConfig

Groups = list[dict[str, Any]]


def adam(groups: Groups, config: TrainConfig, device: torch.device) -> torch.optim.Adam:
    """Return the recipe's optimiser, fused where the device has it."""
    fused = device.type in ("cpu", "cuda")
    return torch.optim.Adam(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def parameter_groups(network: nn.Module, factors: tuple[tuple[str, float], ...]) -> Groups:
    """Group parameters by the factor of their learning rate; a factor of 0 freezes.

    Args:
        network: its parameters' names are compared.
        factors: by prefix; the longest that fits holds, and 1 without one.

    Raises:
        TrainingError: a prefix fits no parameter, or nothing is left to train.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    names = [name for name, _ in network.named_parameters()]
    for prefix, _ in factors:
        if not any(name.startswith(prefix) for name in names):
            raise TrainingError(f"learning_rate_factors: no parameter's name begins with {prefix!r}")
    for name, parameter in network.named_parameters():
        fitting = [(len(prefix), factor) for prefix, factor in factors if name.startswith(prefix)]
        factor = max(fitting)[1] if fitting else 1.0
        parameter.requires_grad_(factor > 0)
        if factor > 0:
            groups.setdefault(factor, []).append(parameter)
    if not groups:
        raise TrainingError("learning_rate_factors freezes every parameter")
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group, times the group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group.get("factor", 1.0)


def train_mode(network: nn.Module) -> None:
    """Switch to training, but for batch norms whose parameters are frozen: their statistics stay too."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in parameters):
            module.eval()


class AverageWeights:
    """Exponential moving average of a network's weights.

    Args:
        network: followed.
        halflife_steps: half-life of a step's weights.
    """

    def __init__(self, network: nn.Module, halflife_steps: float) -> None:
        self.network, self.halflife_steps = network, halflife_steps
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, step: int) -> None:
        """Move towards the network's weights; early on they are followed closely."""
        rate = 1 - 0.5 ** (1 / min(self.halflife_steps, 1 + step / 10))
        current = self.network.state_dict()
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [current[name] for name in floating], rate)
        for name in current.keys() - set(floating):
            self.state[name].copy_(current[name])

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's average."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
