"""Differentiable operations on tensors. Importing this also gives Tensor its operators: + - * / ** @ and indexing."""

from minicnn.ops.activation import relu
from minicnn.ops.arithmetic import add, divide, exp, log, matmul, multiply, negate, power, subtract
from minicnn.ops.batch_norm import batch_norm, batch_norm_relu
from minicnn.ops.concat import ChannelBuffer, append, concat
from minicnn.ops.conv import conv2d, conv2d_relu, expand_relu
from minicnn.ops.dropout import drop_path, dropout
from minicnn.ops.linear import linear
from minicnn.ops.loss import cross_entropy, log_softmax, softmax
from minicnn.ops.lrn import local_response_norm
from minicnn.ops.pool import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from minicnn.ops.recompute import recompute
from minicnn.ops.shape import flatten, index, mean, pad, reshape, sum, transpose
from minicnn.ops.transfer import to

__all__ = ["ChannelBuffer", "adaptive_avg_pool2d", "add", "append", "avg_pool2d", "batch_norm", "batch_norm_relu", "concat",
           "conv2d", "conv2d_relu", "cross_entropy", "divide", "drop_path", "dropout", "exp", "expand_relu", "flatten",
           "global_avg_pool2d", "index", "linear", "local_response_norm", "log", "log_softmax", "matmul", "max_pool2d", "mean",
           "multiply", "negate", "pad", "power", "recompute", "relu", "reshape", "softmax", "subtract", "sum", "to",
           "transpose"]
