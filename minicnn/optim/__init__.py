"""Optimisers and learning-rate schedules."""

from minicnn.optim.schedules import Constant, Cosine, MultiStep, Plateau, Step, WarmUp
from minicnn.optim.sgd import SGD

__all__ = ["SGD", "Constant", "Cosine", "MultiStep", "Plateau", "Step", "WarmUp"]
