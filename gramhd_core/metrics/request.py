"""What can be asked of an evaluation, in one value; and what `--quick` makes of it.

n samples; S x S pixels. Everything a score depends on, besides model and data, is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.metrics.protocols import known_protocols

FEWEST, MOST = 16, 100_000
MOST_IDENTITIES = 1000
SAMPLES, IDENTITIES = 200, 10
QUICK_SAMPLES, QUICK_IDENTITIES = 64, 2  # a preview in minutes on two cores
SETTINGS = ("fast", "paper")  # of the NeuS test


@dataclass(frozen=True)
class EvaluationRequest:
    """samples: how many heads, seeds 0 and up. truncation: psi in [0, 1]. size: side of pictures, None: as trained.

    identities: how many heads are looked at from many sides, seeds 0 and up. protocols: how pictures are counted and
    compared, names of `protocols.PROTOCOLS`; own_counts: those with counts of their own keep them, whatever `samples`
    says. features: what sees them (`extractors.known_features`). neus: one of `SETTINGS`. quick: a preview, which says
    so.
    """

    samples: int = SAMPLES
    truncation: float = 1.0
    size: int | None = None
    identities: int = IDENTITIES
    own_counts: bool = True
    protocols: tuple[str, ...] = ("house",)
    features: str = "auto"
    neus: str = "fast"
    quick: bool = False

    @staticmethod
    def of(
        *, samples: int | None = None, identities: int | None = None, quick: bool = False, **others: Any
    ) -> EvaluationRequest:
        """The request with the usual numbers, or those of a preview, for what is None."""
        others["own_counts"] = samples is None
        usual = (QUICK_SAMPLES, QUICK_IDENTITIES) if quick else (SAMPLES, IDENTITIES)
        samples, identities = (b if a is None else a for a, b in zip((samples, identities), usual, strict=True))
        return EvaluationRequest(samples=samples, identities=identities, quick=quick, **others)

    def __post_init__(self) -> None:
        if not FEWEST <= self.samples <= MOST:
            raise BadArgument(
                f"{self.samples} samples were asked for",
                expected=f"scores need {FEWEST} to {MOST:,}",
                remedy="use a --samples in that range, 200 is quick and 2000 is steady",
            )
        if not 0 <= self.truncation <= 1:
            raise BadArgument(
                f"the truncation is {self.truncation:g}",
                expected="it must lie between 0 (the average head) and 1 (full variety)",
                remedy="use a --trunc in that range, scores are usually given for 1",
            )
        if self.size is not None and not 16 <= self.size <= 1024:
            raise BadArgument(
                f"the size is {self.size} pixels", expected="16 to 1024 can be judged", remedy="use another --size"
            )
        if not 1 <= self.identities <= MOST_IDENTITIES:
            raise BadArgument(
                f"{self.identities} identities were asked for",
                expected=f"1 to {MOST_IDENTITIES} can be looked at from many sides",
                remedy="use another --identities, the paper takes 50",
            )
        known_protocols(self.protocols, samples=None if self.own_counts else self.samples)
        if self.neus not in SETTINGS:
            raise BadArgument(
                f"--neus {self.neus}", expected=f"the settings are {', '.join(SETTINGS)}", remedy="choose one of them"
            )


def check_enough(reader: DatasetReader, request: EvaluationRequest) -> None:
    """BadDataset if there are not two images for every sample."""
    if len(reader) < 2 * request.samples:
        most = len(reader) // 2
        fewer = f"use --samples {most} or prepare more images"
        raise BadDataset(
            f"{reader.path} has {len(reader)} images",
            expected=f"{request.samples} samples are compared with twice as many, in two halves",
            remedy=fewer if most >= FEWEST else f"prepare {2 * FEWEST} or more",
        )
