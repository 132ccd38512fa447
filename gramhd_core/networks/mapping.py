"""z -> modulation: the small MLPs in front of the field and of the super-resolution network."""

from __future__ import annotations

from torch import Tensor, nn


class Mapping(nn.Module):
    """z [N, z_dim] -> [N, out]: `layers` hidden layers with LeakyReLU(0.2), one linear (pi-GAN: mapping network).

    Init: Kaiming normal (a = 0.2); the last weight is then multiplied by `last_gain` (0.25 for FiLM, 1 for styles).
    """

    def __init__(self, z_dim: int, out: int, *, hidden: int = 256, layers: int = 3, last_gain: float = 1.0):
        super().__init__()
        widths = [z_dim] + [hidden] * layers
        parts: list[nn.Module] = []
        for i in range(layers):
            parts += [nn.Linear(widths[i], widths[i + 1]), nn.LeakyReLU(0.2)]
        parts.append(nn.Linear(hidden, out))
        self.network = nn.Sequential(*parts)
        for part in self.network:
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight, a=0.2, mode="fan_in", nonlinearity="leaky_relu")
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        last.weight.data.mul_(last_gain)

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z)
