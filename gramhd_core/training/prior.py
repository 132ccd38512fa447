"""Which latents a reconstruction really uses: a Gaussian, folded into the mapping networks when a model is published.

Encoders fill the unit Gaussian they are asked for only roughly: some directions of z are wide, others narrow, some go
together. Latents drawn from N(0, 1) would then miss many of the heads that were learnt. So mean and covariance of the
encoder's draws are kept on the way, fakes for the discriminator are drawn from that Gaussian, and z -> mean + L z
(L L' = covariance) becomes part of each mapping's first layer: to everybody else z is N(0, 1)
(RAE: ex-post density estimation). D is the length of z, B a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gramhd_core.networks.encoders import Encoder
from gramhd_core.networks.mapping import Mapping

DECAY = 0.9995  # of the running moments, per step
FLOOR = 1e-4  # added to variances, so that the covariance always has a square root


class LatentPrior:
    """mean [D] and second moment [D, D] of the latents drawn lately; begins as N(0, 1)."""

    def __init__(self, z_dim: int, *, device: torch.device | str = "cpu"):
        self.mean = torch.zeros(z_dim, device=device)
        self.second = torch.eye(z_dim, device=device)
        self.updates = 0

    @staticmethod
    def moments(z: Tensor) -> Tensor:
        """z [B, D] -> [D + D * D]: what `see` wants; the mean over processes is that of the whole batch."""
        z = z.detach()
        return torch.cat([z.mean(dim=0), (z.mT @ z / len(z)).flatten()])

    def see(self, moments: Tensor) -> None:
        """Take one step towards the moments of a batch."""
        self.updates += 1
        share = 1 - min(DECAY, self.updates / (10 + self.updates))
        mean, second = moments.split([len(self.mean), self.second.numel()])
        self.mean.lerp_(mean, share)
        self.second.lerp_(second.view_as(self.second), share)

    def root(self) -> Tensor:
        """L [D, D], lower triangular, L L' = covariance."""
        covariance = (self.second - torch.outer(self.mean, self.mean)).double()
        floor = FLOOR * torch.eye(len(self.mean), dtype=torch.float64, device=covariance.device)
        return torch.linalg.cholesky(covariance + floor).to(self.mean.dtype)

    def draw(self, noise: Tensor) -> Tensor:
        """Unit noise [N, D] -> latents [N, D] as the encoder draws them."""
        return self.mean + noise @ self.root().mT

    @torch.no_grad()
    def fold_into(self, network: nn.Module) -> None:
        """Let all mappings in `network` take N(0, 1) from now on."""
        root = self.root()
        for part in network.modules():
            if isinstance(part, Mapping):
                first = part.network[0]
                assert isinstance(first, nn.Linear)
                first.bias.add_(first.weight @ self.mean)
                first.weight.copy_(first.weight @ root)

    @torch.no_grad()
    def fold_into_encoder(self, encoder: Encoder) -> None:
        """Let the encoder guess what the folded mappings take: its mean exactly, its variances on average."""
        inverse = torch.linalg.inv(self.root())
        mean, log_variance = slice(None, len(self.mean)), slice(len(self.mean), None)
        weight, bias = encoder.leave.weight, encoder.leave.bias
        variance = bias[log_variance].exp()
        bias[log_variance] += torch.log(inverse.square() @ variance / variance)
        weight[mean] = inverse @ weight[mean]
        bias[mean] = inverse @ (bias[mean] - self.mean)

    def state(self) -> dict[str, Tensor | int]:
        """What resuming needs."""
        return {"mean": self.mean, "second": self.second, "updates": self.updates}

    def restore(self, state: dict) -> None:
        """The inverse of `state`."""
        self.mean.copy_(state["mean"])
        self.second.copy_(state["second"])
        self.updates = state["updates"]
