"""Pillar 3, execution: how wishes become orders, and the simulated venue that answers them."""

from helios.execution.account import Borrow, FeeTier, Financing
from helios.execution.dark import Arrivals, DarkPool
from helios.execution.impact import Impact
from helios.execution.latency import Gamma, Latency, LogNormal, Measured
from helios.execution.settings import Execution, Fees, HalfSpread, Venue

__all__ = [
    "Arrivals",
    "Borrow",
    "DarkPool",
    "Execution",
    "FeeTier",
    "Fees",
    "Financing",
    "Gamma",
    "HalfSpread",
    "Impact",
    "Latency",
    "LogNormal",
    "Measured",
    "Venue",
]
