"""What a check found."""

from dataclasses import asdict, dataclass


@dataclass
class Result:
    """One input or parameter: its verdict, and the worst element with its analytic and its numeric gradient."""

    name: str
    verdict: str
    index: tuple
    analytic: float | None
    numeric: float | None

    def __str__(self):
        text = f"{self.name}: {self.verdict}"
        if self.verdict != "right":
            text += f" at {self.index}: backward gives {self.analytic:.6g}, differences {self.numeric:.6g}"
        return text


class Report:
    """True when every gradient is right; print it for the details; failures lists the Results that are not right."""

    def __init__(self, results):
        self.results = list(results)

    @property
    def failures(self):
        return [result for result in self.results if result.verdict != "right"]

    def __bool__(self):
        return not self.failures

    def __str__(self):
        return "\n".join(map(str, self.results))

    def to_dict(self):
        """For JSON."""
        return {"passed": bool(self), "results": [asdict(result) for result in self.results]}
