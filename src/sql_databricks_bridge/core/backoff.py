"""How long to wait before the next try: exponentially longer, with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between 0 and min(cap, base * 2^n) seconds, uniformly."""

    base_s: float = 1.0
    cap_s: float = 60.0
    random: random.Random = field(default_factory=random.SystemRandom)

    def pause_s(self, failures: int) -> float:
        """The pause after the n-th failure in a row, from 1."""
        return self.random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30)))
