"""Learning-rate schedules: each sets optimizer.lr.

`step(metric)` is called once at the end of every epoch (of every iteration for schedules that count iterations: the unit
is the caller's). A schedule's state_dict is all of its numbers, so that training resumes where it was.
"""

import math

from minicnn.errors import ArgumentError

LINKS = ("optimizer", "after")      # attributes that are objects, not numbers of the state


class Constant:
    """lr stays what it was. The other schedules differ in `rate`, the factor on the first lr after `count` steps."""

    def __init__(self, optimizer):
        self.optimizer, self.base, self.count = optimizer, optimizer.lr, 0

    def rate(self):
        """The factor on the first learning rate now."""
        return 1.0

    def step(self, metric=None):
        """Count one step and set optimizer.lr; returns it. Only Plateau reads the metric."""
        self.count += 1
        return self._set()

    def _set(self):
        self.optimizer.lr = self.base * self.rate()
        return self.optimizer.lr

    def state_dict(self):
        """Every number the schedule goes on from."""
        return {name: value for name, value in vars(self).items() if name not in LINKS}

    def load_state_dict(self, state):
        """Go on from what state_dict returned, and set optimizer.lr."""
        vars(self).update({name: value for name, value in state.items() if name not in LINKS and name in vars(self)})
        self._set()


class Step(Constant):
    """lr · factor^(count // size): divided by 10 every `size` steps with the usual factor 0.1."""

    def __init__(self, optimizer, size, factor=0.1):
        super().__init__(optimizer)
        if size < 1:
            raise ArgumentError(f"Step: size {size} is less than 1; pass the number of epochs between drops")
        self.size, self.factor = size, factor

    def rate(self):
        return self.factor ** (self.count // self.size)


class MultiStep(Constant):
    """lr · factor^(how many milestones are reached): He et al. 2016 drop at 32k and 48k of 64k iterations."""

    def __init__(self, optimizer, milestones, factor=0.1):
        super().__init__(optimizer)
        if list(milestones) != sorted(milestones):
            raise ArgumentError(f"MultiStep: milestones {list(milestones)} are not in rising order; sort them")
        self.milestones, self.factor = list(milestones), factor

    def rate(self):
        return self.factor ** sum(self.count >= milestone for milestone in self.milestones)


class Cosine(Constant):
    """From lr down to `least` along half a cosine over `total` steps.  Source: Loshchilov and Hutter 2017, equation 5."""

    def __init__(self, optimizer, total, least=0.0):
        super().__init__(optimizer)
        if total < 1:
            raise ArgumentError(f"Cosine: total {total} is less than 1; pass the number of epochs")
        self.total, self.least = total, least

    def rate(self):
        floor = self.least / self.base if self.base else 0.0
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(self.count, self.total) / self.total))


class Plateau(Constant):
    """lr · factor each time the metric has not improved for more than `patience` steps.

    mode "min" (a loss or error) or "max" (an accuracy); better means by more than the share `threshold`, as in PyTorch.
    """

    def __init__(self, optimizer, factor=0.1, patience=10, mode="min", threshold=1e-4):
        super().__init__(optimizer)
        if mode not in ("min", "max"):
            raise ArgumentError(f"Plateau: mode {mode!r} is not 'min' or 'max'; choose one")
        self.factor, self.patience, self.mode, self.threshold = factor, patience, mode, threshold
        self.best, self.waited, self.drops = None, 0, 0

    def rate(self):
        return self.factor ** self.drops

    def step(self, metric=None):
        if metric is None:
            raise ArgumentError("Plateau: step() needs the metric to watch; pass step(metric=validation_error)")
        if self._better(metric):
            self.best, self.waited = metric, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.drops, self.waited = self.drops + 1, 0
        return super().step()

    def _better(self, metric):
        if self.best is None:
            return True
        if self.mode == "min":
            return metric < self.best * (1 - self.threshold)
        return metric > self.best * (1 + self.threshold)


class WarmUp(Constant):
    """Linear from start·lr to lr over `steps` steps, then whatever the schedule `after` says, counted from there.

    Goyal et al. 2017, section 2.2; He et al. 2016 (section 4.2) warm ResNet-110 up with a constant 0.1·lr instead.
    """

    def __init__(self, optimizer, steps, start=0.1, after=None):
        super().__init__(optimizer)
        if steps < 1:
            raise ArgumentError(f"WarmUp: steps {steps} is less than 1; pass how many steps the warm-up takes")
        self.steps, self.start = steps, start
        self.after = after or Constant(optimizer)
        self._set()

    def rate(self):
        return self.start + (1 - self.start) * min(1.0, self.count / self.steps)

    def step(self, metric=None):
        if self.count < self.steps:
            return super().step()
        self.count += 1
        return self.after.step(metric)

    def state_dict(self):
        return {**super().state_dict(), "after": self.after.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        if self.count >= self.steps:
            self.after.load_state_dict(state["after"])
