"""The radiance generator Phi: a FiLM-SIREN with summed heads (GRAM: radiance generator; GRAM-HD: feature heads).

N identities, P points each, H = hidden width. Points are world coordinates; they are scaled by 1 / box inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.networks.mapping import Mapping

WIDEN = 1e-3  # "widened sigmoid": colours may reach 0 and 1 exactly
SIREN_GAIN = 25.0  # divisor of the uniform init of every sine layer but the first


@dataclass(frozen=True)
class FieldConfig:
    """Widths and modulation of Phi. Defaults: the published network."""

    z_dim: int = 256
    hidden: int = 256
    layers: int = 8
    mapping_hidden: int = 256
    mapping_layers: int = 3
    features: int = 0  # channels handed to super-resolution; 0 in stage 1
    # "none": no colour layer; "locked": always seen along (0, 0, -1); "camera": along the ray (published training)
    view_dependence: Literal["none", "locked", "camera"] = "locked"
    frequency_gain: float = 15.0  # effective frequency = gain * raw + bias
    frequency_bias: float = 30.0
    delta: float = 0.04  # optical thickness of one manifold: alpha = 1 - exp(-delta sigma)
    start_density: float = 0.0  # > 0: training starts from a soft ball of this raw density (published: 0)
    start_radius: float = 0.085  # of that ball, world units: raw density crosses 0 there
    box: float = 0.12
    fp32_phases: bool = True  # keep sin(f x + p) in fp32 under autocast; False is the published behaviour

    def __post_init__(self) -> None:
        at_least(self, 1, "z_dim", "hidden", "mapping_hidden", "mapping_layers")
        at_least(self, 2, "layers")

    @property
    def film_layers(self) -> int:
        """Number of modulated layers, the colour layer included."""
        return self.layers + (self.view_dependence != "none")


class FieldValue(NamedTuple):
    """rgb [N, P, 3] in [-0.001, 1.001]; sigma [N, P] >= 0; features [N, P, F] (F may be 0)."""

    rgb: Tensor
    sigma: Tensor
    features: Tensor


class FilmLayer(nn.Module):
    """h = sin(f (W x + b) + p); f, p [N, out] (SIREN: sine layer; pi-GAN: FiLM conditioning)."""

    def __init__(self, fan_in: int, fan_out: int, *, bound: float):
        super().__init__()
        self.layer = nn.Linear(fan_in, fan_out)
        nn.init.uniform_(self.layer.weight, -bound, bound)

    def forward(self, x: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
        # f (W x + b) + p with f and p folded into the weights: one matrix product per identity, no extra pass
        weight = frequency[:, :, None] * self.layer.weight
        bias = frequency * self.layer.bias + phase
        return torch.sin(torch.baddbmm(bias[:, None], x, weight.mT))


class Field(nn.Module):
    """Phi and its mapping network."""

    def __init__(self, config: FieldConfig):
        super().__init__()
        self.config = c = config
        sine = (6 / c.hidden) ** 0.5 / SIREN_GAIN
        self.network = nn.ModuleList(
            FilmLayer(3 if i == 0 else c.hidden, c.hidden, bound=1 / 3 if i == 0 else sine) for i in range(c.layers)
        )
        self.color_layer = nn.ModuleList()
        if c.view_dependence != "none":
            fan_in = c.hidden + 3
            self.color_layer.append(FilmLayer(fan_in, c.hidden, bound=(6 / fan_in) ** 0.5 / SIREN_GAIN))
        self.output_sigma = self._heads(1, sine)
        self.output_color = self._heads(3, sine)
        self.output_feature = self._heads(c.features, sine) if c.features else nn.ModuleList()
        out = 2 * c.film_layers * c.hidden
        self.mapping = Mapping(c.z_dim, out, hidden=c.mapping_hidden, layers=c.mapping_layers, last_gain=0.25)

    def _heads(self, out: int, bound: float) -> nn.ModuleList:
        heads = [nn.Linear(self.config.hidden, out) for _ in range(self.config.layers - 1)]
        for head in heads:
            nn.init.uniform_(head.weight, -bound, bound)
        return nn.ModuleList(heads)

    def film(self, z: Tensor) -> Tensor:
        """z [N, z_dim] -> raw modulation [N, film layers, 2, H]; index 0 of axis 2 frequencies, 1 phases."""
        with self._precision(z):
            raw = self.mapping(z)
        return raw.unflatten(1, (2, self.config.film_layers, self.config.hidden)).transpose(1, 2)

    def forward(self, points: Tensor, directions: Tensor | None, film: Tensor) -> FieldValue:
        """World points [N, P, 3], unit view directions [N, P, 3] (None: locked to (0, 0, -1)), film -> FieldValue."""
        with self._precision(points):
            return self._forward(points, directions, film)

    def _precision(self, like: Tensor) -> torch.autocast:
        """Autocast as it is outside, or switched off where phases must stay in fp32."""
        kind = like.device.type
        return torch.autocast(kind, enabled=torch.is_autocast_enabled(kind) and not self.config.fp32_phases)

    def _forward(self, points: Tensor, directions: Tensor | None, film: Tensor) -> FieldValue:
        c = self.config
        frequency = c.frequency_gain * film[:, :, 0] + c.frequency_bias  # [N, film layers, H]
        phase = film[:, :, 1]
        h = points * (1 / c.box)
        total: Tensor | None = None
        last = c.layers - 1
        for i, layer in enumerate(self.network):
            h = layer(h, frequency[:, i], phase[:, i])
            if i == 0:
                continue
            kinds = [self.output_sigma, self.output_color, self.output_feature]
            if i == last and self.color_layer:
                del kinds[1]  # the last colour head sits on the colour layer
            heads = [cast(nn.Linear, kind[i - 1]) for kind in kinds if kind]
            value = _spread(h, heads, channels=4 + c.features)
            total = value if total is None else total + value
        assert total is not None, "a field needs at least two layers"
        rgb = total[..., 1:4]
        if self.color_layer:
            if directions is None:
                directions = points.new_tensor([0.0, 0.0, -1.0]).expand_as(points)
            seen = self.color_layer[0](torch.cat([directions, h], dim=-1), frequency[:, -1], phase[:, -1])
            rgb = rgb + self.output_color[last - 1](seen)
        raw = total[..., 0]
        if c.start_density:
            raw = raw + c.start_density * (1 - points.norm(dim=-1) / c.start_radius)
        return FieldValue(
            torch.sigmoid(rgb) * (1 + 2 * WIDEN) - WIDEN,
            F.softplus(raw),
            total[..., 4:],
        )


def _spread(h: Tensor, heads: list[nn.Linear], *, channels: int) -> Tensor:
    """Heads [sigma, rgb?, features?] of h [N, P, H] in one product -> [N, P, channels]; a missing rgb is zero."""
    weights: list[Tensor] = [head.weight for head in heads]
    biases: list[Tensor] = [head.bias for head in heads]
    if sum(len(w) for w in weights) < channels:
        weights.insert(1, weights[0].new_zeros(3, h.shape[-1]))
        biases.insert(1, biases[0].new_zeros(3))
    return F.linear(h, torch.cat(weights), torch.cat(biases))
