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
LOCKED = (0.0, 0.0, -1.0)  # the direction every point is seen along where colours do not depend on the camera
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
        weight, bias = self.folded(frequency, phase)
        return torch.sin(torch.baddbmm(bias[:, None], x, weight.mT))

    def folded(self, frequency: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """f (W x + b) + p = W' x + b': one matrix product per identity, no extra pass. W' [N, out, in], b' [N, out]."""
        return frequency[:, :, None] * self.layer.weight, frequency * self.layer.bias + phase


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

    def forward(
        self, points: Tensor, directions: Tensor | None, film: Tensor, *, twin: Literal["auto", "readable"] = "auto"
    ) -> FieldValue:
        """World points [N, P, 3], unit view directions [N, P, 3] (None: locked to (0, 0, -1)), film -> FieldValue.

        twin "auto": by fast_fields.py, which needs little time and no memory, except where derivatives of derivatives
        or of directions are wanted or autocast is on; "readable": plain torch, always.
        """
        c = self.config
        with self._precision(points):
            odd = torch.is_autocast_enabled(points.device.type) or (directions is not None and directions.requires_grad)
            total = (self._total if odd or twin == "readable" else self._fast_total)(points, directions, film)
        raw, rgb, features = total.split([1, 3, c.features], dim=-1)
        raw = raw[..., 0]
        if c.start_density:
            raw = raw + c.start_density * (1 - points.norm(dim=-1) / c.start_radius)
        return FieldValue(torch.sigmoid(rgb) * (1 + 2 * WIDEN) - WIDEN, F.softplus(raw), features)

    def _precision(self, like: Tensor) -> torch.autocast:
        """Autocast as it is outside, or switched off where phases must stay in fp32."""
        kind = like.device.type
        return torch.autocast(kind, enabled=torch.is_autocast_enabled(kind) and not self.config.fp32_phases)

    def _total(self, points: Tensor, directions: Tensor | None, film: Tensor) -> Tensor:
        """[N, P, 4 + F]: the summed heads sigma, r, g, b, features; readable."""
        c = self.config
        frequency, phase = self._modulation(film)
        h = points * (1 / c.box)
        total: Tensor | None = None
        for i, layer in enumerate(self.network):
            h = layer(h, frequency[:, i], phase[:, i])
            if i:
                value = F.linear(h, *self._head(i))
                total = value if total is None else total + value
        assert total is not None, "a field needs at least two layers"
        if self.color_layer:
            if directions is None:
                directions = points.new_tensor(LOCKED).expand_as(points)
            seen = self.color_layer[0](torch.cat([directions, h], dim=-1), frequency[:, -1], phase[:, -1])
            total = total + F.linear(seen, *self._head(c.layers))
        return total

    def _fast_total(self, points: Tensor, directions: Tensor | None, film: Tensor) -> Tensor:
        """The same by its twin."""
        from gramhd_core.networks.fast_fields import Stages, summed_heads

        c = self.config
        frequency, phase = self._modulation(film)
        layers = [cast(FilmLayer, layer) for layer in (*self.network, *self.color_layer)]
        folded = [layer.folded(frequency[:, i], phase[:, i]) for i, layer in enumerate(layers)]
        weights, biases = [pair[0] for pair in folded], [pair[1] for pair in folded]
        along = None
        if self.color_layer:
            along, weights[-1] = weights[-1][:, :, :3], weights[-1][:, :, 3:]
            if directions is None:
                biases[-1] = biases[-1] + along @ along.new_tensor(LOCKED)
                along = None
        heads = [self._head(i) for i in range(1, len(layers))]
        # not sum(): the gradient of that is one piece of memory for all biases, which then is scaled and added to twice
        offset = points.new_ones(len(heads)) @ torch.stack([bias for _, bias in heads])
        stages = Stages(weights, biases, torch.stack([weight for weight, _ in heads]), offset, along)
        return summed_heads(points * (1 / c.box), directions if along is not None else None, stages)

    def _modulation(self, film: Tensor) -> tuple[Tensor, Tensor]:
        """Frequencies and phases [N, film layers, H]."""
        return self.config.frequency_gain * film[:, :, 0] + self.config.frequency_bias, film[:, :, 1]

    def _head(self, stage: int) -> tuple[Tensor, Tensor]:
        """Weight [4 + F, H] and bias of what stage 1, 2, ... adds to the sum; zeros where it has no head."""
        c = self.config
        colour_stage = stage == c.layers
        sits_elsewhere = stage == c.layers - 1 and bool(self.color_layer)  # the last colour head: on the colour layer
        i = stage - 1 - colour_stage
        kinds = [
            (self.output_sigma, 1, not colour_stage),
            (self.output_color, 3, not sits_elsewhere),
            (self.output_feature, c.features, not colour_stage),
        ]
        like = cast(nn.Linear, self.output_sigma[0]).weight
        weights, biases = [], []
        for heads, channels, present in kinds:
            if not channels:
                continue
            head = cast(nn.Linear, heads[i])
            weights.append(head.weight if present else like.new_zeros(channels, c.hidden))
            biases.append(head.bias if present else like.new_zeros(channels))
        return torch.cat(weights), torch.cat(biases)
