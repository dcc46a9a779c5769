"""Listings: a security at a venue, written "KO@BATS". A symbol without a venue is at the default one, named ""."""

from __future__ import annotations


def listing(security: str, venue: str) -> str:
    """The symbol of a security at a venue."""
    return f"{security}@{venue}" if venue else security


def split(symbol: str) -> tuple[str, str]:
    """Security and venue of a listing."""
    security, at, venue = symbol.rpartition("@")
    return (security, venue) if at else (symbol, "")
