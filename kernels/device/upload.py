"""Batches on their way to the GPU while it computes on the batch before.

Each batch is written to pinned host memory, which the GPU can read by itself, and copied by a stream of its own; the stream
of the kernels waits for that copy, the host does not. Two pinned buffers take turns. A buffer is written again, and memory on
either side let go, only when the copy is done.
"""

import numpy as np

from kernels.device.array import DeviceArray


def prefetched(batches, dtype):
    """(DeviceArray of images, labels) for each (images, labels) of host arrays, one batch ahead."""
    from kernels.device.shim import cuda
    copies, slots, ahead = cuda.stream(), [_Slot(), _Slot()], None
    try:
        for number, (images, labels) in enumerate(batches):
            slot = slots[number % 2]
            coming = slot, slot.start(images, dtype, copies), labels
            if ahead is not None:
                yield _arrived(*ahead)
            ahead = coming
        if ahead is not None:
            yield _arrived(*ahead)
    finally:                        # also where the caller stops early: buffers and arrays must outlive their copies
        copies.synchronize()


def _arrived(slot, array, labels):
    from kernels.device import shim
    slot.copied.wait(shim.stream())
    return array, labels


class _Slot:
    """A pinned buffer and the event that its copy is done; a larger or smaller batch gets another buffer."""

    def __init__(self):
        self.buffer = self.copied = None

    def start(self, images, dtype, copies):
        from kernels.device import shim
        cuda = shim.cuda
        if self.copied is not None:
            self.copied.synchronize()               # the copy before has read the buffer
        if self.buffer is None or self.buffer.size != images.size or self.buffer.dtype != dtype:
            self.buffer = cuda.pinned_array(images.size, dtype)
        self.buffer[:] = np.asarray(images).reshape(-1)
        array = DeviceArray(images.shape, dtype)
        given_back = cuda.event()       # its memory may be one that queued kernels still read
        given_back.record(shim.stream())
        given_back.wait(copies)
        array.flat.copy_to_device(self.buffer, stream=copies)
        self.copied = cuda.event()
        self.copied.record(copies)
        return array
