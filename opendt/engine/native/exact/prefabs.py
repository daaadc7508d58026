"""The built-in failure models: distributions fitted to public failure traces.

References: [1] B. Javadi, D. Kondo, A. Iosup, D. Epema, "The Failure Trace Archive: enabling the comparison of failure
measurements and models of distributed systems", JPDC 73(8), 2013, doi:10.1016/j.jpdc.2013.04.002.
"""

from __future__ import annotations

from typing import Any

# System, then exponential (mean), Weibull (shape, scale), log-normal (mu, sigma) and gamma (shape, scale):
# time between failures, then duration of a failure, both in hours.
_FITS = """
G5k06 32.41 7.41 | 0.48,14.37 0.35,0.47 | 1.51,2.42 -2,2.2 | 0.34,94.35 0.19,39.92
Lanl05 1779.99 5.92 | 0.48,816.6 0.58,2.18 | 5.56,2.39 0.05,1.42 | 0.35,5102.71 0.38,15.44
Ldns04 141.06 8.61 | 0.51,79.3 0.63,5.62 | 3.25,2.33 0.91,1.64 | 0.39,362.43 0.51,16.87
Microsoft99 67.01 16.49 | 0.55,35.3 0.6,9.34 | 2.62,1.84 1.42,1.54 | 0.41,162.19 0.46,35.52
Nd07cpu 13.73 4.25 | 0.45,4.16 0.51,0.74 | 0.3,2.2 -1.02,1.27 | 0.3,46.16 0.28,15.07
Overnet03 2.29 12 | 0.85,2.04 0.44,2.98 | 0.19,0.98 0.08,1.8 | 0.91,2.53 0.29,41.64
Pl05 159.49 49.61 | 0.33,19.35 0.36,5.59 | 1.44,2.86 0.4,2.45 | 0.2,788.03 0.21,237.65
Skype06 16.27 14.31 | 0.64,10.86 0.63,9.48 | 1.6,1.57 1.4,1.73 | 0.53,30.79 0.5,28.53
Websites02 11.85 1.18 | 0.46,3.68 0.65,0.61 | 0.23,2.02 -1.12,1.13 | 0.31,38.67 0.5,2.37
"""
_KINDS = (
    ("Exp", "exponential", ("mean",)),
    ("Wbl", "weibull", ("alpha", "beta")),
    ("LogN", "log-normal", ("scale", "shape")),
    ("Gam", "gamma", ("shape", "scale")),
)


def _prefabs() -> dict[str, dict[str, Any]]:
    found = {}
    for line in _FITS.strip().splitlines():
        system, rest = line.split(maxsplit=1)
        for (suffix, kind, names), fit in zip(_KINDS, rest.split("|"), strict=True):
            interval, duration = (
                {"type": kind, **dict(zip(names, map(float, part.split(",")), strict=True))} for part in fit.split()
            )
            found[system + suffix] = {
                "iatSampler": interval,
                "durationSampler": duration,
                "nohSampler": {"type": "uniform", "lower": 0.0, "upper": 1.0},
            }
    return found


PREFABS = _prefabs()
