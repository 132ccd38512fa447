"""Numbers that are not finite: updates they would spoil are left out, and a run that meets too many goes back.

An update is decided on the device, so that nothing waits for the answer; what was decided travels with the losses.
fp32 and bf16: such numbers are a fault. fp16: gradients overflow as long as their scale is too large, which the scaler
finds out by such steps; they count as faults only at its smallest scale, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gramhd_core.training.config import TrainConfig

SLOWER = 0.5  # what a return to an earlier checkpoint does to the learning rates


class Update(NamedTuple):
    """norm [] of the gradient before clipping; made [] bool: whether the weights were updated."""

    norm: Tensor
    made: Tensor


def optimiser_for(parameters: Sequence[nn.Parameter], *, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam, in the kind that can leave an update out on the device itself where there is one."""
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=fused)


def backward(total: Tensor) -> None:
    """total.backward(), with gradients of NaN if the total [] is not finite: their norm then tells of both."""
    total.backward(1 + 0 * total.detach())


def careful_update(
    optimiser: torch.optim.Adam, parameters: Sequence[nn.Parameter], *, clip: float, if_made: Tensor | None = None
) -> Update:
    """Clip the gradient's L2 norm to `clip`, update, clear the gradients.

    If the norm is not finite, or another update it depends on was not made, the weights and the optimiser (moments and
    count) stay as they are.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip).detach()
    made = norm.isfinite() if if_made is None else norm.isfinite() & if_made
    if optimiser.param_groups[0]["fused"]:
        optimiser.found_inf = (~made).float()  # type: ignore[attr-defined]  # what GradScaler hands to fused kernels
        optimiser.step()
    elif bool(made):
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return Update(norm, made)


@torch.no_grad()
def all_finite(*networks: nn.Module) -> bool:
    """Whether every weight is a finite number."""
    finite = [p.isfinite().all() for network in networks for p in network.parameters()]
    return bool(torch.stack(finite).all())


class Guard:
    """Counts faulty steps, and says when a run has to go back to its last good checkpoint. Part of what is saved."""

    def __init__(self, config: TrainConfig):
        self.patience = config.bad_steps
        self.skipped = 0  # faulty steps in this run
        self.in_row = 0  # of them the newest, one after another
        self.returns = 0  # times the run went back

    @property
    def rate(self) -> float:
        """What learning rates are multiplied with."""
        return SLOWER**self.returns

    @property
    def calm(self) -> bool:
        """Whether the newest step was a good one."""
        return self.in_row == 0

    @property
    def lost(self) -> bool:
        """Whether too many steps in a row were faulty."""
        return self.in_row >= self.patience

    def see(self, *, faulty: bool) -> None:
        """Count a step."""
        self.skipped += faulty
        self.in_row = self.in_row + 1 if faulty else 0

    def state(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_row": self.in_row, "returns": self.returns}

    def restore(self, state: dict[str, Any]) -> None:
        self.skipped, self.in_row, self.returns = (state.get(name, 0) for name in ("skipped", "in_row", "returns"))
