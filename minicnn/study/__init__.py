"""Looking at a network: what it is made of, what each unit sees, what flows through it, how long it takes.

    study.summary(model, (3, 32, 32))       layers, shapes, parameters, MACs, memory, receptive fields
    study.record(model)                     a with-block that collects activations and gradients
    study.time_layers(model, (3, 32, 32))   forward and backward time of each layer
    study.bench("conv2d")                   every rung of a room on one shape
    study.look(model, x, picture)           one image's way through it, and what the answer rests on
    study.page(model, "photo.jpg")          all of it as a page to look at, for a module of your own too
"""

from minicnn.study.bench import BenchResult, bench
from minicnn.study.look import Look, look
from minicnn.study.page import page
from minicnn.study.record import Recording, record
from minicnn.study.summary import Row, Summary, summary
from minicnn.study.timing import LayerTime, time_inference, time_layers

__all__ = ["BenchResult", "LayerTime", "Look", "Recording", "Row", "Summary", "bench", "look", "page", "record", "summary",
           "time_inference", "time_layers"]
