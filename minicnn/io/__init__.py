"""Weights in and out of files. Nothing that a file names is ever run."""

from minicnn.io.atomic import atomic_write
from minicnn.io.load import load_weights
from minicnn.io.safetensors import load_safetensors, save_weights

__all__ = ["atomic_write", "load_safetensors", "load_weights", "save_weights"]
