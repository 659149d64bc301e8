"""Whole training steps and inference of minicnn against PyTorch and ONNX Runtime, a step of each in turn.

Every contender has the same weights and images, in a process of its own (see workers). Before anything is timed the losses of
two training steps, or the logits, must agree: the second loss has gone through the backward pass and the update. Then the
contenders take turns, each starting a round once in a while, until each has `repeats` turns; a turn is one step, or as many as
fit into TURN seconds. A training step is forward pass, loss, backward pass, SGD with momentum and weight decay. Dropout is off
while losses are compared and on while steps are timed.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.results import rate, ratio, summary
from benchmarks.workers import BenchmarkError, Worker

# Ratios wanted: training against PyTorch's best mode, inference against it, inference against ONNX Runtime.
WANTED = {
    "alexnet_owt": (1.2, 1.0, 0.9), "vgg16": (1.3, 1.3, 1.0), "googlenet_bn": (1.2, 1.0, 0.8), "resnet50": (1.3, 1.0, 0.9),
    "wide_resnet50_2": (1.3, 1.1, 0.9), "resnext50_32x4d": (1.5, 1.2, 0.9), "densenet121": (1.5, 1.0, 0.8),
    "squeezenet1_1": (1.5, 1.0, 0.7), "resnet20": (1.3, 1.0, None), "resnet110": (1.3, 1.0, None)}
CONTENDERS = {
    "minicnn": ("Minicnn", {}),
    "minicnn-fused": ("Minicnn", {"fused": True}),
    "minicnn-im2col": ("Minicnn", {"rungs": {"conv2d": "im2col"}}),
    "torch": ("Torch", {}),
    "torch-channels-last": ("Torch", {"channels_last": True}),
    "torch-compile": ("Torch", {"compiled": True}),
    "onnxruntime": ("OnnxRuntime", {}),
}
HEADS = {"minicnn-fused": "fused", "minicnn-im2col": "im2col", "torch": "NCHW", "torch-channels-last": "ch.last",
         "torch-compile": "compile", "onnxruntime": "ORT"}
MODES = {"train": ("minicnn", "torch", "torch-channels-last", "torch-compile"),
         "inference": ("minicnn", "minicnn-fused", "torch", "torch-channels-last", "torch-compile", "onnxruntime")}
INFERENCE_ONLY = ("minicnn-fused", "onnxruntime")
TURN, PAUSE = 0.25, 0.02        # seconds: of steps in a turn; for the last contender's threads to fall asleep
WARM_UP = 2
LOSS_TOLERANCE, LOGIT_TOLERANCE = 1e-3, 1e-3        # relative to the largest


def batch_of(model):
    """The batch that the figures are wanted for: 128 for CIFAR's networks, 16 for ImageNet's."""
    return 128 if model in ("resnet20", "resnet110") else 16


def shape_and_classes(model, batch):
    """((N, C, H, W), number of classes) of a registered model at its paper's image size."""
    from minicnn import models
    side = models.info(model).input_shape
    return (batch, *side), 10 if side[-1] == 32 else 1000


def contenders(mode, chosen=None):
    """The chosen ones that can run in `mode`; without a choice all but what is there for comparison with ourselves."""
    names = [name for name in CONTENDERS if name in (chosen or MODES[mode])]
    return [name for name in names if mode == "inference" or name not in INFERENCE_ONLY]


class Meeting:
    """The contenders of one model in one mode, each in its worker; a context manager that ends them."""

    def __init__(self, model, mode, names, batch, threads, dtype="float32"):
        self.shape, self.classes = shape_and_classes(model, batch)
        self.model, self.mode, self.threads, self.dtype = model, mode, threads, dtype
        self.names, self.workers = names, {}

    def __enter__(self):
        with tempfile.TemporaryDirectory() as folder:
            self.folder = Path(folder)
            save_weights(self.model, self.dtype, self.folder / "weights.safetensors")
            try:
                for name in self.names:
                    self.workers[name] = self.start(name)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *error):
        for worker in self.workers.values():
            worker.close()

    def start(self, name):
        """A worker with the contender's session."""
        kind, options = CONTENDERS[name]
        arguments = {"model": self.model, "weights": str(self.folder / "weights.safetensors"), "dtype": self.dtype,
                     "training": self.mode == "train", **options}
        if kind != "Minicnn":
            arguments["threads"] = self.threads
        if kind == "OnnxRuntime":
            arguments = {"path": self._export(arguments), "threads": self.threads}
        return self._session(name, kind, arguments)

    def _session(self, name, kind, arguments):
        session = {"engine": kind, "arguments": arguments, "shape": self.shape, "classes": self.classes, "dtype": self.dtype}
        return Worker(name, "benchmarks.session:Session", session, self.threads)

    def _export(self, arguments):
        path = str(self.folder / "model.onnx")
        with self._session("the export for onnxruntime", "Torch", arguments) as exporter:
            exporter.call("export", path)
        return path

    def ask(self, method, *args):
        """{name: what its method returns}, one after the other."""
        return {name: worker.call(method, *args) for name, worker in self.workers.items()}


def save_weights(model, dtype, path):
    """Initial weights of a model from seed 0, for all contenders."""
    import minicnn
    from minicnn import io, models
    minicnn.seed(0)
    io.save_weights(path, models.create(model).astype(dtype).state_dict())


def largest_difference(mode, found):
    """The largest difference of losses or logits from the first contender's, relative to its largest value."""
    import numpy as np
    arrays = [np.asarray(values, np.float64) for values in found.values()]
    scale = np.abs(arrays[0]).max()
    differences = {name: float(np.abs(a - arrays[0]).max() / scale) for name, a in zip(found, arrays)}
    worst = max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
    tolerance = LOSS_TOLERANCE if mode == "train" else LOGIT_TOLERANCE
    if not differences[worst] <= tolerance:
        what = "losses" if mode == "train" else "logits"
        raise BenchmarkError(f"the {what} of {worst} differ from {next(iter(found))}'s by {differences[worst]:.1e} of the "
                             f"largest, more than {tolerance:g}: they compute different things, so nothing was timed")
    return differences[worst]


def time_model(model, mode, names, batch, repeats, threads, advance=None):
    """Times of one model in one mode -> a dict for the results file. advance(steps, note) is told of progress."""
    advance = advance or (lambda steps=1, note="": None)
    with Meeting(model, mode, names, batch, threads) as meeting:
        advance(0, f"{model} {mode}: comparing")
        difference = largest_difference(mode, meeting.ask(*(("losses", 2) if mode == "train" else ("logits",))))
        for name, worker in meeting.workers.items():
            advance(1, f"{model} {mode}: {name} warms up")
            worker.call("warm_up", mode, WARM_UP)
        times = take_turns(meeting.workers, "train" if mode == "train" else "infer", repeats,
                           lambda name: advance(1, f"{model} {mode}: {name}"))
    rows = {name: summary(seconds) for name, seconds in times.items()}
    for name, row in rows.items():
        row["images_per_second"] = batch / row["median"]
        row["seconds"] = [round(seconds, 6) for seconds in times[name]]
    return {"model": model, "mode": mode, "batch": batch, "shape": list(meeting.shape), "difference": difference,
            "contenders": rows, **compare(model, mode, rows)}


def take_turns(workers, method, repeats, tell):
    """{name: seconds of every step} after `repeats` rounds; each round begins with another contender."""
    names, times = list(workers), {name: [] for name in workers}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            tell(name)
            time.sleep(PAUSE)
            times[name] += workers[name].call(method, TURN)
    return times


def compare(model, mode, rows):
    """{"ratio_torch", "ratio_onnxruntime", "wanted_…"}: minicnn's best mode over PyTorch's best, and over ONNX Runtime."""
    def best(start):
        return max((row["images_per_second"] for name, row in rows.items() if name.startswith(start)), default=None)
    ours, torch, onnx = best("minicnn"), best("torch"), best("onnxruntime")
    train, infer, infer_onnx = WANTED[model]
    return {"ratio_torch": ours and torch and ours / torch, "wanted_torch": train if mode == "train" else infer,
            "ratio_onnxruntime": ours and onnx and ours / onnx, "wanted_onnxruntime": infer_onnx if mode != "train" else None}


def run(models, modes, batch, repeats, threads, chosen, progress, keep):
    """Time all models in all modes; keep(rows) after each. A model that fails has an "error" in its row and no times."""
    plan = [(model, mode, contenders(mode, chosen)) for model in models for mode in modes]
    rows = []
    with progress("peers", sum(len(names) * (repeats + 1) for _, _, names in plan)) as advance:
        for model, mode, names in plan:
            size = batch or batch_of(model)
            try:
                rows.append(time_model(model, mode, names, size, repeats, threads, advance))
            except BenchmarkError as error:
                rows.append({"model": model, "mode": mode, "batch": size, "error": str(error)})
            keep(rows)
    return rows


def table(rows, mode):
    """(columns, rows as texts) of the results in one mode, images a second."""
    names = [name for name in CONTENDERS if any(name in row.get("contenders", ()) for row in rows if row["mode"] == mode)]
    columns = ["model", ">batch", *[">" + HEADS.get(name, name) for name in names], ">/torch", ">wanted"]
    columns += [">/ORT", ">wanted"] if mode == "inference" else []
    lines = []
    for row in rows:
        if row["mode"] != mode or "error" in row:
            continue
        found = [rate(row["contenders"].get(name, {}).get("images_per_second")) for name in names]
        line = [row["model"], row["batch"], *found, ratio(row["ratio_torch"]), ratio(row["wanted_torch"])]
        line += [ratio(row["ratio_onnxruntime"]), ratio(row["wanted_onnxruntime"])] if mode == "inference" else []
        lines.append(line)
    return columns, lines
