"""The JDK's random generators in plain Python (SEMANTICS 7.5); the compiled twin is ``opendt.engine.native.jdk``."""

from __future__ import annotations

_LOW48 = (1 << 48) - 1
_LOW64 = (1 << 64) - 1


class JavaRandom:
    """``java.util.Random``."""

    __slots__ = ("state",)

    def __init__(self, seed: int) -> None:
        self.state = (seed ^ 0x5DEECE66D) & _LOW48

    def _bits(self, count: int) -> int:
        self.state = (self.state * 0x5DEECE66D + 0xB) & _LOW48
        return self.state >> (48 - count)

    def below(self, bound: int) -> int:
        """``nextInt(bound)``."""
        while True:
            bits = self._bits(31)
            if bound & (bound - 1) == 0:
                return (bound * bits) >> 31
            value = bits % bound
            if bits - value + bound - 1 < 1 << 31:
                return value

    def long(self) -> int:
        """``nextLong()`` as an unsigned number."""
        high, low = self._bits(32), self._bits(32)
        return ((high << 32) + (low - (1 << 32) if low >> 31 else low)) & _LOW64


class SplittableRandom:
    """``java.util.SplittableRandom``."""

    __slots__ = ("state",)

    def __init__(self, seed: int) -> None:
        self.state = seed & _LOW64

    def _next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _LOW64
        return self.state

    def long(self) -> int:
        """``nextLong()`` as an unsigned number."""
        z = self._next()
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _LOW64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _LOW64
        return z ^ (z >> 31)

    def _int(self) -> int:
        z = self._next()
        z = ((z ^ (z >> 33)) * 0x62A9D9ED799705F5) & _LOW64
        z = ((z ^ (z >> 28)) * 0xCB24D0A5C88C35B3) & _LOW64
        return z >> 32

    def below(self, bound: int) -> int:
        """``nextInt(bound)``."""
        bits = self._int()
        if bound & (bound - 1) == 0:
            return bits & (bound - 1)
        while True:
            value = (bits >> 1) % bound
            if (bits >> 1) + bound - 1 - value < 1 << 31:
                return value
            bits = self._int()
