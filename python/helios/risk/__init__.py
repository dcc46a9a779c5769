"""Pillar 4, risk: the limits of the gate that every order passes.

At start-up each configured limit proves that the run feeds it and that it refuses; one that could never act is an
error.
"""

from helios.risk.limits import Limits

__all__ = ["Limits"]
