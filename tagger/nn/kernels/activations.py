"""Compiled sigmoid and tanh, for use inside compiled loops."""

import numpy as np

from tagger.nn.kernels.compiling import elementwise

# x P(x²) / Q(x²) is tanh(x) within 4e-7 for |x| <= 8; for larger |x| tanh is ±1 in float32. Fitted in float64 by least
# squares whose weights rise where the error is largest (Lawson, 1961).
_LIMIT = np.float32(8.0)
_P0, _P1, _P2 = np.float32(0.999999981), np.float32(0.129792222), np.float32(2.98586065e-3)
_P3, _P4, _P5 = np.float32(9.87864849e-6), np.float32(-1.47041854e-8), np.float32(2.35085162e-11)
_Q1, _Q2, _Q3 = np.float32(0.463125382), np.float32(0.0240279193), np.float32(2.37203058e-4)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)


@elementwise
def tanh(x: np.float32) -> np.float32:  # pragma: no cover
    """Returns the hyperbolic tangent within 4e-7."""
    x = _LIMIT if x > _LIMIT else x  # in this form NaN stays NaN
    x = -_LIMIT if x < -_LIMIT else x
    y = x * x
    numerator = x * (_P0 + y * (_P1 + y * (_P2 + y * (_P3 + y * (_P4 + y * _P5)))))
    denominator = _ONE + y * (_Q1 + y * (_Q2 + y * _Q3))
    return numerator / denominator


@elementwise
def sigmoid(x: np.float32) -> np.float32:  # pragma: no cover
    """Returns the logistic function within 2e-7."""
    return _HALF + _HALF * tanh(_HALF * x)  # type: ignore[no-any-return]
