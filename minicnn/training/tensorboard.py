"""Metrics for TensorBoard, written by tensorboardX: one event file a run, with a scalar for each figure of each epoch."""

from pathlib import Path

from minicnn.errors import BackendError
from minicnn.training.progress import Silent

_NOT_SCALARS = ("epoch",)


class TensorBoard(Silent):
    """A reporter that writes into `folder`. A run that is resumed is written anew, so that no epoch is there twice.

    Raises BackendError without tensorboardX.
    """

    def __init__(self, folder):
        try:
            import tensorboardX
        except ImportError as error:
            raise BackendError("TensorBoard's files are written by tensorboardX, which is not installed; pip install "
                               "'minicnn[tensorboard]'") from error
        self._folder, self._library, self._writer = Path(folder), tensorboardX, None

    def begin(self, trainer):
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = self._library.SummaryWriter(str(self._folder))
        for row in trainer.history:
            self.epoch(trainer, row)

    def epoch(self, trainer, row):
        for name, value in row.items():
            if name not in _NOT_SCALARS:
                part, _, kind = name.rpartition("_")
                tag = f"{kind}/{part}" if kind in ("loss", "accuracy") else name
                self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()

    def end(self):
        self._writer.close()
