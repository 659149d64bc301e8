"""Batches of a data set, prepared in threads while the network computes."""

from collections import deque

import numpy as np

from minicnn.data.dataset import describe_source, fetch_images
from minicnn.data.streams import check_seed, sample_order, sample_streams
from minicnn.data.transforms.compose import apply_batch, stack_if_alike
from minicnn.data.transforms.values import to_chw
from minicnn.errors import ArgumentError, DataError, MinicnnError

__all__ = ["Loader"]


class Loader:
    """Iterate over (images float32 (N, C, H, W), contiguous; labels int64 (N,)).

        loader = Loader(train, 128, transform, shuffle=True)
        for loader.epoch in range(200):
            for images, labels in loader: ...

    The order depends on (seed, epoch) alone and the augmentation of a sample on (seed, epoch, its index): the same
    epoch gives the same batches, whatever `workers`, and `batches(start=k)` continues exactly where training stopped.
    `epoch` (0 at first) is set by the caller. transform None scales to 0..1. workers: threads; 0 works in the caller's.
    At most workers + 2 batches are held ready. An iterator that is closed or dropped ends its threads. Errors reach the
    caller, with the image that caused them. Raises ArgumentError for arguments out of range.
    """

    def __init__(self, dataset, batch_size, transform=None, shuffle=False, seed=0, drop_last=False, workers=1):
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ArgumentError(f"Loader: {name} {value!r} is not an integer from {least}; pass for example 1")
        if drop_last and batch_size > len(dataset):
            raise ArgumentError(f"Loader: batch_size {batch_size} with drop_last leaves none of the {len(dataset)} "
                                f"images; choose at most {len(dataset)}")
        self.dataset, self.batch_size = dataset, int(batch_size)
        self.transform = to_chw if transform is None else transform
        self.shuffle, self.seed, self.drop_last, self.workers = shuffle, check_seed(seed), drop_last, int(workers)
        self._labels = np.asarray(dataset.labels, dtype=np.int64)
        self.epoch = 0

    def __len__(self):
        """Batches in an epoch."""
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self):
        return self.batches()

    def order(self):
        """The indices of this epoch's images in the order they come, int64."""
        epoch = check_seed(self.epoch, "Loader: epoch")
        return sample_order(self.seed, epoch, len(self.dataset)) if self.shuffle else np.arange(len(self.dataset))

    def batches(self, start=0):
        """Iterate over this epoch's batches from number `start`; ArgumentError unless it is in 0..len(loader)."""
        if not isinstance(start, (int, np.integer)) or not 0 <= start <= len(self):
            raise ArgumentError(f"Loader: start {start!r} is not a batch of 0..{len(self)}; pass how many are done")
        order, size = self.order(), self.batch_size
        return self._run([order[i * size : (i + 1) * size] for i in range(start, len(self))], int(self.epoch))

    def _run(self, parts, epoch):
        if not self.workers:
            for indices in parts:
                yield self._batch(indices, epoch)
            return
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="minicnn-loader")
        pending = deque()
        try:
            for indices in parts:
                pending.append(pool.submit(self._batch, indices, epoch))
                if len(pending) > self.workers + 1:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, indices, epoch):
        images = fetch_images(self.dataset, indices)
        if not isinstance(images, np.ndarray):
            images = stack_if_alike(images)
        try:
            out = apply_batch(self.transform, images, sample_streams(self.seed, epoch, indices))
        except Exception:
            self._name_culprit(images, indices, epoch)
            raise
        return self._checked(out, indices), self._labels[indices]

    def _name_culprit(self, images, indices, epoch):
        """Transform the images one by one, so that the error says which of them it is about."""
        streams = sample_streams(self.seed, epoch, indices)
        for i, image in enumerate(images):
            source = describe_source(self.dataset, int(indices[i]))
            try:
                self.transform(image, streams[i])
            except MinicnnError as error:
                raise type(error)(f"{source}: {error}") from error
            except Exception as error:
                error.add_note(f"while transforming {source}")
                raise

    def _checked(self, images, indices):
        if not isinstance(images, np.ndarray):
            i = next(i for i, image in enumerate(images) if image.shape != images[0].shape
                     or image.dtype != images[0].dtype)
            raise DataError(f"{describe_source(self.dataset, int(indices[i]))}: the transformed image is "
                            f"{images[i].dtype} {images[i].shape}, others of its batch are {images[0].dtype} "
                            f"{images[0].shape}; end the transform with one size, for example Resize or CenterCrop")
        if images.dtype.kind != "f":
            raise ArgumentError(f"Loader: the transform gives {images.dtype} {images.shape[1:]}; end it with "
                                "Normalize(mean, std) or to_chw, which give float32 (C, H, W)")
        return np.ascontiguousarray(images, dtype=np.float32)
