"""The JDK's two public random generators, as far as OpenDC's schedulers use them (SEMANTICS 7.5).

``java.util.Random`` is the linear congruential generator of its documentation, ``SplittableRandom`` the SplitMix64
of G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
doi:10.1145/2660193.2660195. States live in a uint64 array: LINEAR and SPLIT.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opendt.engine.native.compiled import kernel

LINEAR, SPLIT = 0, 1
_MASK48 = (1 << 48) - 1
_MASK64 = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15

_U = np.uint64
_MULTIPLIER, _INCREMENT, _LOW48 = _U(0x5DEECE66D), _U(0xB), _U(_MASK48)
_GAMMA_U, _MIX_A, _MIX_B = _U(_GAMMA), _U(0x62A9D9ED799705F5), _U(0xCB24D0A5C88C35B3)
_LOW32 = _U(0xFFFFFFFF)


def seeded(seed: int) -> Any:
    """States of both generators for the seed of a run."""
    root = (seed + _GAMMA) & _MASK64
    z = ((root ^ (root >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    linear = ((z ^ (z >> 31)) ^ 0x5DEECE66D) & _MASK48
    high, after = _next32(linear)
    low, _ = _next32(after)
    return np.array([linear, ((high << 32) + low) & _MASK64], dtype=np.uint64)


def _next32(linear: int) -> tuple[int, int]:
    linear = (linear * 0x5DEECE66D + 0xB) & _MASK48
    bits = linear >> 16
    return bits - (1 << 32) if bits >= 1 << 31 else bits, linear


@kernel
def linear_below(state: Any, bound: Any) -> Any:
    """``java.util.Random.nextInt(bound)``; ``bound`` at least 1."""
    while True:
        state[LINEAR] = (state[LINEAR] * _MULTIPLIER + _INCREMENT) & _LOW48
        bits = np.int64(state[LINEAR] >> _U(17))
        if bound & (bound - 1) == 0:
            return (bound * bits) >> 31
        value = bits % bound
        if bits - value + (bound - 1) < 2147483648:
            return value


@kernel
def split_int(state: Any) -> Any:
    """``SplittableRandom.nextInt()`` as an unsigned 32-bit number in an int64."""
    state[SPLIT] = state[SPLIT] + _GAMMA_U
    z = state[SPLIT]
    z = (z ^ (z >> _U(33))) * _MIX_A
    z = (z ^ (z >> _U(28))) * _MIX_B
    return np.int64((z >> _U(32)) & _LOW32)


@kernel
def split_below(state: Any, bound: Any) -> Any:
    """``SplittableRandom.nextInt(bound)``; ``bound`` at least 1."""
    bits = split_int(state)
    if bound & (bound - 1) == 0:
        return bits & (bound - 1)
    while True:
        half = bits >> 1
        value = half % bound
        if half + (bound - 1) - value < 2147483648:
            return value
        bits = split_int(state)
