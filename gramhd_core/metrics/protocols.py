"""How two sets of pictures are compared, by name: numbers of one protocol can stand side by side, others cannot.

A report carries the whole protocol of every number. Counts that differ from a protocol's own are said to: FID of fewer
pictures is larger, whatever made them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gramhd_core.errors import BadArgument, BadDataset

FEWEST = 16  # pictures of either side
REAL_SEED = 0  # of the order of the real pictures
KID_SEED = 2020  # torch-fidelity's own
KID_SUBSET = 1000  # and published everywhere


@dataclass(frozen=True)
class Protocol:
    """fakes: generated pictures, seeds 0 and up. reals: of the data set, in an order shuffled with `REAL_SEED`; None is
    all of them. halves: two times as many reals as fakes, every score the mean over both halves, and the halves
    against each other as its floor. poses: where fakes are seen from: the model's own distribution of cameras, or the
    labels of the data. kid_subset, kid_subsets: `kid_subsets` times that many of either side.
    changed: what was asked for instead of the protocol's own numbers, "" for nothing.
    """

    name: str
    fakes: int
    reals: int | None
    poses: Literal["prior", "labels"] = "prior"
    halves: bool = False
    kid_subset: int = KID_SUBSET
    kid_subsets: int = 100
    kid_seed: int = KID_SEED
    source: str = ""
    changed: str = ""

    @property
    def title(self) -> str:
        """Its name, and what is not as its name promises."""
        return f"{self.name} ({self.changed})" if self.changed else self.name

    def of_samples(self, samples: int | None) -> Protocol:
        """The same with another number of fakes (and of reals, where it is the same number), which it then says.

        BadArgument for fewer than KID's subset or 16, and for labels as counts.
        """
        if samples is None or samples == self.fakes:
            return self
        least = FEWEST if self.halves else max(FEWEST, self.kid_subset)
        if samples < least:
            raise BadArgument(
                f"{samples} samples were asked for",
                expected=f"the protocol `{self.name}` takes KID of subsets of {self.kid_subset}"
                if least > FEWEST
                else f"scores need {FEWEST} or more",
                remedy=f"use --samples {least} or more"
                + (", or --protocol house, whose subsets shrink" if least > FEWEST else ""),
            )
        if self.halves:  # its number of samples is free
            return replace(self, fakes=samples)
        changed = f"{samples:,} samples instead of {self.fakes:,}"
        return replace(self, fakes=samples, reals=samples if self.reals == self.fakes else self.reals, changed=changed)

    def check_fakes(self, count: int, *, where: str) -> None:
        """BadDataset if a folder of `count` pictures has fewer than it compares. where: for the sentence."""
        if count >= self.fakes:
            return
        least = FEWEST if self.halves else self.kid_subset
        raise BadDataset(
            f"{where} has {count:,} pictures",
            expected=f"the protocol `{self.title}` compares {self.fakes:,}",
            remedy=f"use --samples {count} or make more of them"
            if count >= least
            else "make more of them or use --protocol house, whose subsets shrink",
        )

    def reals_of(self, count: int, *, where: str) -> int:
        """How many of `count` real pictures it takes. BadDataset if they are too few. where: for the sentence."""
        need = 2 * self.fakes if self.halves else self.reals or self.kid_subset
        if count >= need:
            return need if self.halves or self.reals else count
        fewer = count // 2 if self.halves else count
        least = FEWEST if self.halves else self.kid_subset
        possible = fewer >= least and (self.halves or self.reals == self.fakes)
        what = f"{self.fakes} samples are compared with twice as many, in two halves" if self.halves else (
            f"the protocol `{self.name}` compares with {need:,} of them" if self.reals
            else f"the protocol `{self.name}` takes KID of subsets of {need}")  # fmt: skip
        instead = "prepare more images" + ("" if self.halves else " or use --protocol house")
        raise BadDataset(
            f"{where} has {count:,} images",
            expected=what,
            remedy=f"use --samples {fewer} or {instead}" if possible else instead,
        )

    def subset_of(self, fakes: int, reals: int) -> tuple[int, int]:
        """Size and number of KID's subsets. They shrink to what is there, and the only subset is then taken once."""
        size = min(self.kid_subset, fakes, reals)
        assert size == self.kid_subset or self.halves, "named protocols are refused before"
        return size, self.kid_subsets if max(fakes, reals) > size else 1


PROTOCOLS: dict[str, Protocol] = {
    "house": Protocol(
        "house", 200, None, halves=True, kid_subsets=20, kid_seed=0, source="docs/conventions.md, Scores"
    ),
    "paper": Protocol("paper", 20_000, 20_000, source="GRAM-HD, experiments: 20K generated and real images"),
    "official-eval": Protocol(
        "official-eval", 10_000, None, source="GRAM-HD, published evaluation script: 10,000 fakes against all reals"
    ),
    "eg3d": Protocol(
        "eg3d",
        50_000,
        None,
        poses="labels",
        source="EG3D, experiments: 50k generated images against all training images",
    ),
}


def known_protocols(names: Iterable[str], *, samples: int | None = None) -> tuple[Protocol, ...]:
    """Protocols by name, each once, with `samples` fakes if that is given. BadArgument for names not in `PROTOCOLS`."""
    asked = tuple(dict.fromkeys(names))
    for name in asked:
        if name not in PROTOCOLS:
            nearest = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.3)
            raise BadArgument(
                f"the protocol is `{name}`",
                expected=f"it must be one of {', '.join(PROTOCOLS)}",
                remedy=f"did you mean `{nearest[0]}`" if nearest else "use one of these",
            )
    return tuple(PROTOCOLS[name].of_samples(samples) for name in asked)
