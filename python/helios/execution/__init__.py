"""Pillar 3, execution: how wishes become orders, and the simulated venue that answers them."""

from helios.execution.account import Borrow, FeeTier, Financing
from helios.execution.settings import Execution, Fees, HalfSpread, Latency, Venue

__all__ = ["Borrow", "Execution", "FeeTier", "Fees", "Financing", "HalfSpread", "Latency", "Venue"]
