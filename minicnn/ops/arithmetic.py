"""Elementwise arithmetic with NumPy's broadcasting, and the matrix product."""

import numbers

import numpy as np

from minicnn.autograd import Op, Tensor, apply, as_tensor
from minicnn.errors import DTypeError, ShapeError


def unbroadcast(g, shape):
    """Sum g over the axes along which an array of `shape` was broadcast: the gradient of broadcasting."""
    if g.shape == shape:
        return g
    g = g.sum(tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, side in enumerate(shape) if side == 1 and g.shape[i] != 1)
    return g.sum(stretched, keepdims=True) if stretched else g


class _Binary(Op):
    """An op of two arrays of one dtype whose shapes broadcast."""

    def check(self, a, b):
        name = type(self).__name__.lower()
        if a.dtype != b.dtype:
            raise DTypeError(f"{name}: dtypes {a.dtype} and {b.dtype} differ; convert one with .astype")
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ShapeError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast; "
                             "sides must be equal or 1, counted from the last") from None


class Add(_Binary):
    """y = a + b;  ga = gy, gb = gy"""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, gy):
        return unbroadcast(gy, self.shapes[0]), unbroadcast(gy, self.shapes[1])


class Subtract(_Binary):
    """y = a - b;  ga = gy, gb = -gy"""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, gy):
        return (unbroadcast(gy, self.shapes[0]) if self.needs[0] else None,
                unbroadcast(-gy, self.shapes[1]) if self.needs[1] else None)


class Multiply(_Binary):
    """y = a · b;  ga = gy · b, gb = gy · a"""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, gy):
        return (unbroadcast(gy * self.b, self.a.shape) if self.needs[0] else None,
                unbroadcast(gy * self.a, self.b.shape) if self.needs[1] else None)


class Divide(_Binary):
    """y = a / b;  ga = gy / b, gb = -gy · a / b²"""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a / b

    def backward(self, gy):
        return (unbroadcast(gy / self.b, self.a.shape) if self.needs[0] else None,
                unbroadcast(-gy * self.a / self.b ** 2, self.b.shape) if self.needs[1] else None)


class Power(_Binary):
    """y = a^b;  ga = gy · b · a^(b-1), gb = gy · a^b · log a (which needs a > 0 where gb is asked for)"""

    def forward(self, a, b):
        self.a, self.b = a, b
        self.y = a ** b
        return self.y

    def backward(self, gy):
        a, b = self.a, self.b
        return (unbroadcast(gy * b * a ** (b - 1), a.shape) if self.needs[0] else None,
                unbroadcast(gy * self.y * np.log(a), b.shape) if self.needs[1] else None)


class Negate(Op):
    """y = -x;  gx = -gy"""

    def forward(self, x):
        return -x

    def backward(self, gy):
        return -gy


class Exp(Op):
    """y = exp x;  gx = gy · y"""

    def forward(self, x):
        self.y = np.exp(x)
        return self.y

    def backward(self, gy):
        return gy * self.y


class Log(Op):
    """y = log x, the natural one;  gx = gy / x"""

    def forward(self, x):
        self.x = x
        return np.log(x)

    def backward(self, gy):
        return gy / self.x


class MatMul(Op):
    """y = a @ b, for stacks of matrices with broadcasting;  ga = gy @ bᵀ, gb = aᵀ @ gy"""

    def check(self, a, b):
        if a.dtype != b.dtype:
            raise DTypeError(f"matmul: dtypes {a.dtype} and {b.dtype} differ; convert one with .astype")
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ShapeError(f"matmul: shapes {a.shape} and {b.shape} are not (..., n, k) and (..., k, m); "
                             "reshape vectors to matrices and transpose where needed")

    def forward(self, a, b):
        self.a, self.b = a, b
        return a @ b                                    # (..., n, k) @ (..., k, m) -> (..., n, m)

    def backward(self, gy):
        ga = gy @ self.b.swapaxes(-1, -2) if self.needs[0] else None     # (..., n, m) @ (..., m, k) -> (..., n, k)
        gb = self.a.swapaxes(-1, -2) @ gy if self.needs[1] else None     # (..., k, n) @ (..., n, m) -> (..., k, m)
        return (ga if ga is None else unbroadcast(ga, self.a.shape),
                gb if gb is None else unbroadcast(gb, self.b.shape))

    def macs(self, output_shape, a_shape, b_shape):
        return int(np.prod(output_shape)) * a_shape[-1]


def _binary(op, a, b):
    """A Python or NumPy number takes the dtype of the tensor it meets."""
    if isinstance(a, numbers.Number):
        a = np.asarray(a, as_tensor(b).dtype)
    if isinstance(b, numbers.Number):
        b = np.asarray(b, as_tensor(a).dtype)
    return apply(op, a, b)


def add(a, b):
    """a + b"""
    return _binary(Add(), a, b)


def subtract(a, b):
    """a - b"""
    return _binary(Subtract(), a, b)


def multiply(a, b):
    """a · b, elementwise"""
    return _binary(Multiply(), a, b)


def divide(a, b):
    """a / b, elementwise"""
    return _binary(Divide(), a, b)


def power(a, b):
    """a to the power of b, elementwise"""
    return _binary(Power(), a, b)


def negate(x):
    """-x"""
    return apply(Negate(), x)


def exp(x):
    """e to the power of x, elementwise"""
    return apply(Exp(), x)


def log(x):
    """The natural logarithm, elementwise"""
    return apply(Log(), x)


def matmul(a, b):
    """The matrix product of the last two axes; the others broadcast. Raises ShapeError, DTypeError."""
    return apply(MatMul(), a, b)


Tensor.__add__ = add
Tensor.__radd__ = lambda b, a: add(a, b)
Tensor.__sub__ = subtract
Tensor.__rsub__ = lambda b, a: subtract(a, b)
Tensor.__mul__ = multiply
Tensor.__rmul__ = lambda b, a: multiply(a, b)
Tensor.__truediv__ = divide
Tensor.__rtruediv__ = lambda b, a: divide(a, b)
Tensor.__pow__ = power
Tensor.__rpow__ = lambda b, a: power(a, b)
Tensor.__neg__ = negate
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda b, a: matmul(a, b)
