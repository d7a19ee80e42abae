"""What a grid is made of: a bar with its name and words, the run that measures it, and what came out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """How much is measured. Everything random comes from `rng`, so that two runs of the same kind print the same."""

    whole: bool  # the whole grid, or a sample of its cells with fewer runs each
    seed: int

    def rng(self, *names: object) -> np.random.Generator:
        """A generator of its own for each name, whatever else is measured."""
        return np.random.default_rng([self.seed, zlib.crc32(repr(names).encode())])

    def cells(self, cells: Sequence[T], *, sample: int) -> list[T]:
        """All cells, or about `sample` of them at equal distances."""
        cells = list(cells)
        if self.whole or len(cells) <= sample:
            return cells
        return [cells[round(place)] for place in np.linspace(0, len(cells) - 1, sample)]

    def times(self, *, whole: int, sample: int) -> int:
        """How many simulated data sets a cell gets."""
        return whole if self.whole else sample


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a bar's measurement gave."""

    held: bool
    figure: str  # what was measured, in a phrase with its numbers
    rows: tuple[str, ...] = ()  # lines of a table, printed below it


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise of the statistics and the function that measures it."""

    name: str  # such as B1
    says: str  # what has to hold
    measure: Callable[[Run], Outcome]


def noise(p: float, runs: int) -> float:
    """Three standard errors of a share p over so many runs: what chance alone may take from a simulated figure."""
    return 3 * float(np.sqrt(max(p * (1 - p), 0.25 / runs) / runs))
