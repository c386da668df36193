"""Rows of NaN, infinity and numbers, as operators may meet them; the even ones from the third are
infinities alone."""

from __future__ import annotations

import numpy as np

NAN, INF = np.nan, np.inf
NUMBERS = np.array(
    [
        [NAN, 1.0, -2.0, INF],
        [-INF, 0.0, NAN, 3.0],
        [-INF, -INF, -INF, -INF],
        [NAN, NAN, NAN, NAN],
        [INF, INF, INF, INF],
        [6.5, -0.5, 2.0, 7.0],
    ],
    np.float32,
)
