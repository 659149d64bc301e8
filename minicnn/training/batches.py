"""Batches as a model takes them: in its dtype, where its weights live."""

import numpy as np

from kernels import device


def prepared(batches, model):
    """(images, labels) of host arrays -> (images in the model's dtype and on its device, labels).

    On a GPU each batch is copied while the network computes on the one before (kernels.device.upload).
    """
    parameter = next(model.parameters())
    if parameter.device == "cpu":
        return ((np.asarray(images, parameter.dtype), labels) for images, labels in batches)
    from kernels.device.upload import prefetched
    return prefetched(batches, parameter.dtype)


def on_device_of(images, model):
    """One array of images in the model's dtype, where its weights live."""
    parameter = next(model.parameters())
    return device.to(np.asarray(images, parameter.dtype), parameter.device)
