"""Looking at a network: what it is made of, what each unit sees, what flows through it, how long it takes.

    study.summary(model, (3, 32, 32))       layers, shapes, parameters, MACs, memory, receptive fields
    study.record(model)                     a with-block that collects activations and gradients
    study.time_layers(model, (3, 32, 32))   forward and backward time of each layer
    study.bench("conv2d")                   every rung of a room on one shape
    study.study_model(...)                  all of it, and the page that shows it
"""

from minicnn.study.bench import BenchResult, bench
from minicnn.study.record import Recording, record
from minicnn.study.summary import Row, Summary, summary
from minicnn.study.timing import LayerTime, time_inference, time_layers

__all__ = ["BenchResult", "LayerTime", "Recording", "Row", "Summary", "bench", "record", "summary", "time_inference",
           "time_layers"]
