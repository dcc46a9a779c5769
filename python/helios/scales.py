"""The core's integer scales: units per share of a price, per share, per unit of money (core/types/src/number.rs)."""

from typing import Final

PRICE_SCALE: Final = 1_000_000_000
QUANTITY_SCALE: Final = 100_000_000
CASH_SCALE: Final = 1_000_000
