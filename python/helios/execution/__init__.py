"""Pillar 3, execution: how wishes become orders, and the simulated venue that answers them."""

from helios.execution.settings import Execution, Fees, HalfSpread, Latency, Venue

__all__ = ["Execution", "Fees", "HalfSpread", "Latency", "Venue"]
