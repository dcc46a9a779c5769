"""Units of expressions, so that a price is not added to a size by mistake: found when the expression is written."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Unit:
    """Powers of money per share, of shares, and of seconds."""

    price: Fraction = Fraction(0)
    shares: Fraction = Fraction(0)
    seconds: Fraction = Fraction(0)

    def __mul__(self, other: Unit) -> Unit:
        return Unit(self.price + other.price, self.shares + other.shares, self.seconds + other.seconds)

    def __truediv__(self, other: Unit) -> Unit:
        return Unit(self.price - other.price, self.shares - other.shares, self.seconds - other.seconds)

    def power(self, power: Fraction) -> Unit:
        """The unit of a value to this power."""
        return Unit(self.price * power, self.shares * power, self.seconds * power)

    def __str__(self) -> str:
        powers = {"price": self.price, "shares": self.shares, "seconds": self.seconds}
        parts = [name if power == 1 else f"{name}^{power}" for name, power in powers.items() if power]
        return " ".join(parts) or "no unit"


NUMBER = Unit()
PRICE = Unit(price=Fraction(1))
SHARES = Unit(shares=Fraction(1))
SECONDS = Unit(seconds=Fraction(1))
HALF = Fraction(1, 2)
