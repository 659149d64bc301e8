"""What a check found: one Result for each input and parameter, and the faults beside gradients; as text and as JSON."""

from dataclasses import dataclass, field

import numpy as np

from minicnn.gradcheck.verdict import PASSED, Verdict


@dataclass
class Result:
    """One input or parameter, or one fault of a pass.

    path: the layer in its model; name: the input; verdict and its reason; index, analytic and numeric: the worst element;
    error: what the numeric side may be off by; diagnosis: the typical bug that fits (kind, text) or None; tested: what was
    tested, in words; miss_probability: that an error of 1 % passed; error_map: |analytic - numeric| over the largest numeric
    value, an array of the input's shape, NaN where not measured.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    path: str = ""
    index: tuple | None = None
    analytic: float | None = None
    numeric: float | None = None
    error: float | None = None
    kind: str | None = None
    diagnosis: str | None = None
    tested: str = ""
    miss_probability: float | None = None
    error_map: np.ndarray | None = field(default=None, repr=False)

    @property
    def ratio(self):
        """analytic / numeric, None where the numeric side is 0."""
        return self.analytic / self.numeric if self.numeric and self.analytic is not None else None

    @property
    def where(self):
        """The input with its layer's path, as in state_dict."""
        return f"{self.path}.{self.name}" if self.path else self.name

    def __str__(self):
        text = f"{self.where}: {self.verdict}"
        if self.verdict in PASSED:
            return text + (f" ({self.reason})" if self.reason else "") + (f", {self.tested}" if self.tested else "")
        if self.index is not None and self.numeric is not None:
            at = ", ".join(map(str, self.index))
            ratio = "" if self.ratio is None else f", ratio {self.ratio:.6g}"
            text += f" at [{at}]: backward gives {self.analytic:.8g}, differences {self.numeric:.8g} ± {self.error:.1g}{ratio}"
        if self.reason:
            text += f": {self.reason}" if self.index is None else f"; {self.reason}"
        return text + (f"\n    fits: {self.kind}. {self.diagnosis}" if self.diagnosis else "")

    def to_dict(self):
        """For JSON: numbers, strings and lists; what is not finite becomes a string."""
        keys = ("path", "name", "reason", "kind", "diagnosis", "tested")
        numbers = ("analytic", "numeric", "error", "ratio", "miss_probability")
        return {"verdict": str(self.verdict), "index": None if self.index is None else list(self.index),
                **{key: getattr(self, key) for key in keys}, **{key: _number(getattr(self, key)) for key in numbers}}


class Report:
    """True when everything that was checked is right, or at a kink with a valid subgradient.

    results: a Result for each input and parameter; faults: Results for what else was found (inputs changed, two runs that
    differ, …); failures: all that are not right; notes: remarks that do not count.
    """

    def __init__(self, results, faults=(), notes=(), seconds=None):
        self.results, self.faults, self.notes, self.seconds = list(results), list(faults), list(notes), seconds

    @property
    def failures(self):
        """Faults first, then the results that are not right."""
        return self.faults + [result for result in self.results if result.verdict not in PASSED]

    def __bool__(self):
        return not self.failures

    def __str__(self):
        passed = [result for result in self.results if result.verdict in PASSED]
        lines = [str(failure) for failure in self.failures] + [str(result) for result in passed]
        lines += [f"note: {note}" for note in self.notes]
        counts = f"{len(passed)} of {len(self.results)} gradients right"
        if self.faults:
            counts += f", {len(self.faults)} other faults"
        return "\n".join([*lines, counts + (f", {self.seconds:.1f} s" if self.seconds is not None else "")])

    __repr__ = __str__

    def to_dict(self):
        """For JSON."""
        return {"passed": bool(self), "seconds": self.seconds, "results": [r.to_dict() for r in self.results],
                "faults": [r.to_dict() for r in self.faults], "notes": self.notes}


def _number(value):
    return value if value is None or np.isfinite(value) else str(value)
