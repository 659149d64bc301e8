"""What a trainer tells while it runs: a live line on a terminal, plain lines elsewhere, or nothing."""

import os
import sys
import time

_PLAIN_SECONDS = 60     # how often a long epoch says where it is without a terminal


class Silent:
    """Says nothing; a reporter of one's own has these four methods."""

    def begin(self, trainer):
        """Training starts, or goes on."""

    def batch(self, trainer):
        """A batch was learnt."""

    def epoch(self, trainer, row):
        """An epoch is over; row is its line of metrics."""

    def end(self):
        """Training is over or was broken off."""


class Several(Silent):
    """Tells each of several reporters."""

    def __init__(self, *reporters):
        self.reporters = reporters

    def begin(self, trainer):
        for reporter in self.reporters:
            reporter.begin(trainer)

    def batch(self, trainer):
        for reporter in self.reporters:
            reporter.batch(trainer)

    def epoch(self, trainer, row):
        for reporter in self.reporters:
            reporter.epoch(trainer, row)

    def end(self):
        for reporter in self.reporters:
            reporter.end()


class Lines(Silent):
    """A line an epoch, and one a minute within long epochs, on `stream`."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout

    def begin(self, trainer):
        self.clock = Clock(trainer)
        self.said = time.monotonic()

    def batch(self, trainer):
        self.clock.tick(trainer)
        if time.monotonic() - self.said > _PLAIN_SECONDS:
            self.say(f"epoch {trainer.epoch + 1}/{trainer.options.epochs}, batch {trainer.batch}/"
                     f"{trainer.batches_per_epoch}: {now(trainer)}, {self.clock.text()}")

    def epoch(self, trainer, row):
        self.say(f"{epoch_line(row, trainer.options.epochs)}, {self.clock.text()}")

    def say(self, line):
        self.said = time.monotonic()
        print(line, file=self.stream, flush=True)


class Live(Lines):
    """On a terminal: a bar for the present epoch with its figures, and a line for each epoch that is over."""

    def __init__(self, console):
        self.console = console

    def begin(self, trainer):
        from rich.progress import BarColumn, Progress, TextColumn
        self.clock = Clock(trainer)
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[text]}"),
                            console=self.console, transient=True)
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.batches_per_epoch, text="the first batch compiles kernels")

    def batch(self, trainer):
        self.clock.tick(trainer)
        self.bar.update(self.task, completed=trainer.batch, text=f"{now(trainer)}, {self.clock.text()}",
                        description=f"epoch {trainer.epoch + 1}/{trainer.options.epochs}")

    def say(self, line):
        self.bar.console.print(line, markup=False, highlight=False)

    def end(self):
        self.bar.stop()


class Clock:
    """How fast images go by, and when the last will have: measured over the batches of this process, without the first."""

    def __init__(self, trainer):
        images = getattr(trainer.train_loader, "batch_size", 1)
        self.left = images * (trainer.batches_per_epoch * (trainer.options.epochs - trainer.epoch) - trainer.batch)
        self.images, self.start, self.now = 0, None, time.monotonic()

    def tick(self, trainer):
        """A batch is done."""
        size = getattr(trainer.train_loader, "batch_size", 1)
        self.now = time.monotonic()
        self.left = max(0, self.left - size)
        if self.start is None:
            self.start = self.now       # the first batch compiles
        else:
            self.images += size

    def text(self):
        """Images a second, time left, memory."""
        speed = self.images / (self.now - self.start) if self.images and self.now > self.start else 0
        parts = [f"{speed:.0f} images/s", f"{duration(self.left / speed)} left"] if speed and self.left else []
        return ", ".join([*parts, f"{memory_bytes() / 2**20:.0f} MiB"])


def now(trainer):
    """Loss and accuracy of the present epoch so far."""
    images = max(1, trainer.totals["images"])
    return f"loss {trainer.totals['loss'] / images:.3f}, {trainer.totals['correct'] / images:.1%}"


def epoch_line(row, epochs):
    """A row of metrics in words."""
    parts = [f"{name} {row[f'{name}_loss']:.3f} {row[f'{name}_accuracy']:.2%}"
             for name in ("train", "validation", "test") if f"{name}_loss" in row]
    return f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}: {', '.join(parts)}, lr {row['lr']:.3g}"


def duration(seconds):
    """0:07, 1:02:03"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def memory_bytes():
    """What this process has in memory now; its peak where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
