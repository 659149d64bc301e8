"""Strassen's product of 2x2 blocks: which blocks each of the seven products is of, and what the products are summed to.

    M1 = (A11 + A22)·(B11 + B22)        C11 = M1 + M4 - M5 + M7
    M2 = (A21 + A22)·B11                C12 = M3 + M5
    M3 = A11·(B12 - B22)                C21 = M2 + M4
    M4 = A22·(B21 - B11)                C22 = M1 - M2 + M3 + M6
    M5 = (A11 + A12)·B22
    M6 = (A21 - A11)·(B11 + B12)
    M7 = (A12 - A22)·(B21 + B22)
"""

import numpy as np

from kernels.compiling import njit
from kernels.gemm.micro import combination, registers

VECTOR = registers()[0]         # bytes
PRODUCTS = 7
# of each product the two blocks of A, and of B, as row, column, row, column; the last number is 1 for their sum, -1 for their
# difference and 0 for the first alone
LEFT = np.array([(0, 0, 1, 1, 1), (1, 0, 1, 1, 1), (0, 0, 0, 0, 0), (1, 1, 1, 1, 0), (0, 0, 0, 1, 1), (1, 0, 0, 0, -1),
                 (0, 1, 1, 1, -1)])
RIGHT = np.array([(0, 0, 1, 1, 1), (0, 0, 0, 0, 0), (0, 1, 1, 1, -1), (1, 0, 0, 0, -1), (1, 1, 1, 1, 0), (0, 0, 0, 1, 1),
                  (1, 0, 1, 1, 1)])


def _taken(first, second, sign):
    return first + second if sign > 0 else first - second if sign < 0 else first


# all sums of A at once: A11, A12, A21, A22 -> those of M1 to M7
left_sums = combination(lambda *a: [_taken(a[2 * r0 + c0], a[2 * r1 + c1], sign) for r0, c0, r1, c1, sign in LEFT], VECTOR)
# M1 to M7 and two vectors that are added to the left and to the right half of C -> C11, C12, C21, C22
results = combination(lambda m1, m2, m3, m4, m5, m6, m7, left, right: [
    m1 + m4 - m5 + m7 + left, m3 + m5 + right, m2 + m4 + left, m1 - m2 + m3 + m6 + right], VECTOR)
_sum, _difference, _first = (combination(lambda a, b, sign=sign: [_taken(a, b, sign)], VECTOR) for sign in (1, -1, 0))


@njit(cache=True)
def take(sign, sources, target, count, like):
    """target = the sum or the difference of two sources, or the first, by the `sign` of LEFT or RIGHT; see `combination`."""
    if sign > 0:
        _sum(sources, target, count, (0, 0, 0), like)
    elif sign < 0:
        _difference(sources, target, count, (0, 0, 0), like)
    else:
        _first(sources, target, count, (0, 0, 0), like)


@njit(cache=True)
def seven(first, apart, step):
    """Seven arrays that begin so many bytes apart, and the values from row to row, as `combination` takes them."""
    return (first, first + apart, first + 2 * apart, first + 3 * apart, first + 4 * apart, first + 5 * apart, first + 6 * apart,
            step)
