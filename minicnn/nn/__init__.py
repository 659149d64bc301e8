"""Layers that hold their parameters and state, named as in torchvision."""

from minicnn.nn import init
from minicnn.nn.containers import ModuleList, Sequential
from minicnn.nn.fused import conv_into, conv_norm, conv_norm_relu, conv_relu, conv_relu_pool, expand_relu, norm_relu
from minicnn.nn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    DropPath,
    Flatten,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
)
from minicnn.nn.module import Module, Parameter

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "Conv2d", "DropPath", "Dropout", "Flatten", "Identity", "Linear",
           "LocalResponseNorm", "MaxPool2d", "Module", "ModuleList", "Parameter", "ReLU", "Sequential", "conv_into",
           "conv_norm", "conv_norm_relu", "conv_relu", "conv_relu_pool", "expand_relu", "init", "norm_relu"]
