"""Proof against fooling oneself: ways to find out that a good backtest is good for the wrong reason.

| question | name |
|---|---|
| does it work where it was not chosen? | `walk_forward`, `run_walk_forward` |
| does the model know part of the answer? | `purged_kfold`, `combinatorial_purged`, `backtest_paths` |
| how sure is its Sharpe ratio, after N trials? | `probabilistic_sharpe`, `deflated_sharpe`, `min_track_record_length` |
| is the choice of parameters worth anything? | `overfitting_probability` |
| could it be luck? | `permutation_test`, `sign_test`, `reality_check` |
| does it know the future? | `check_lookahead`, `helios check lookahead` |

Each module says what it assumes and where it comes from. Importing this package imports NumPy and Polars.
"""

from helios.research.validate.lookahead import Cut, Difference, Lookahead, check_lookahead
from helios.research.validate.overfitting import Overfitting, overfitting_probability
from helios.research.validate.periods import Period, WalkForward, run_walk_forward, walk_forward
from helios.research.validate.permutation import (
    RealityCheck,
    Significance,
    permutation_test,
    reality_check,
    sign_test,
)
from helios.research.validate.sharpe import (
    TrackRecord,
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record_length,
    probabilistic_sharpe,
    track_record,
)
from helios.research.validate.splits import Split, backtest_paths, combinatorial_purged, purged_kfold

__all__ = [
    "Cut",
    "Difference",
    "Lookahead",
    "Overfitting",
    "Period",
    "RealityCheck",
    "Significance",
    "Split",
    "TrackRecord",
    "WalkForward",
    "backtest_paths",
    "check_lookahead",
    "combinatorial_purged",
    "deflated_sharpe",
    "expected_max_sharpe",
    "min_track_record_length",
    "overfitting_probability",
    "permutation_test",
    "probabilistic_sharpe",
    "purged_kfold",
    "reality_check",
    "run_walk_forward",
    "sign_test",
    "track_record",
    "walk_forward",
]
