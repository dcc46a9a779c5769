"""Pairs: from prices of a formation period to pairs that revert.

    scanned = scan(prices, groups=sector)        # all pairs, every measure, false discoveries controlled: to look at
    chosen = choose(prices, count=300)           # those whose spread reverts and pays its costs: to trade
    path = kalman(prices, scanned.head(20))      # hedge ratios that move

Both take the same prices and make the same regressions. `write_csv` of chosen pairs, and `scanned.write_csv`, are files
that a run reads ([strategy] kind = "pairs", file = "pairs.csv").
"""

from helios.research.pairs.choice import CRITICAL_5_PERCENT, Pair, choose, costs, sample, to_frame, write_csv
from helios.research.pairs.hedging import kalman
from helios.research.pairs.scanning import scan

__all__ = [
    "CRITICAL_5_PERCENT",
    "Pair",
    "choose",
    "costs",
    "kalman",
    "sample",
    "scan",
    "to_frame",
    "write_csv",
]
