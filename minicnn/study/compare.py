"""Networks side by side: size, work, memory, what a unit sees, and measured times; and the bubble plot of the lecture."""

from dataclasses import asdict, dataclass

from minicnn import models
from minicnn.errors import ArgumentError, BackendError
from minicnn.study.summary import summary
from minicnn.study.timing import time_inference, time_layers


@dataclass(frozen=True)
class Comparison:
    """One network. macs and activation_bytes are for one image; error is the published top-1 error in percent, or None;
    forward and training are measured milliseconds an image (None if not timed), in batches of `batch` images."""

    name: str
    input_shape: tuple
    depth: int
    parameters: int
    macs: int
    activation_bytes: int
    receptive_field: tuple | None
    error: float | None
    dataset: str
    batch: int
    forward: float | None = None
    training: float | None = None

    def as_dict(self):
        """For JSON."""
        return asdict(self)


def compare(name, batch=8, timed=True, repeats=3):
    """Measure one registered network at its paper's input size -> Comparison."""
    info, model = models.info(name), models.create(name)
    found = summary(model, info.input_shape, name=name)
    published = next((p for p in info.published if p.top1 is not None), None)
    forward = training = None
    if timed:
        forward = 1000 * time_inference(model, info.input_shape, batch, repeats) / batch
        layers = time_layers(model, info.input_shape, batch, repeats)
        training = 1000 * sum(layer.forward + layer.backward for layer in layers) / batch
    return Comparison(name, info.input_shape, found.depth, found.parameters, found.macs, found.activation_bytes,
                      found.field and found.field.size, published and published.top1,
                      published.dataset if published else "", batch, forward, training)


def bubble_plot(rows, path):
    """Write published accuracy over operations as a picture, the bubbles growing with the parameters, one colour a data set.

    After Canziani, Paszke and Culurciello 2016, "An analysis of deep neural network models for practical applications",
    figure 2. The suffix of `path` chooses the format. Raises BackendError without matplotlib, ArgumentError if no
    network has a published error or the format is unknown.
    """
    plt = _pyplot()
    shown = [row for row in rows if row.error is not None]
    if not shown:
        raise ArgumentError("compare: none of the networks has a published error to plot; add one that has, see "
                            "`minicnn models`")
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    biggest = max(row.parameters for row in shown)
    for dataset in dict.fromkeys(row.dataset for row in shown):
        group = [row for row in shown if row.dataset == dataset]
        axes.scatter([row.macs for row in group], [100 - row.error for row in group],
                     s=[60 + 2400 * row.parameters / biggest for row in group], alpha=0.55, label=dataset)
    for row in shown:
        axes.annotate(f"{row.name}\n{row.parameters / 1e6:.1f} M", (row.macs, 100 - row.error), ha="center", va="center",
                      fontsize=8)
    axes.set(xscale="log", xlabel="multiply-accumulates of one image", ylabel="published top-1 accuracy (%)")
    axes.margins(0.2)
    axes.grid(alpha=0.25)
    for handle in axes.legend(frameon=False).legend_handles:
        handle.set_sizes([60])
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise ArgumentError(f"compare: {path}: {error}; give it the suffix .png, .svg or .pdf") from None
    finally:
        plt.close(figure)


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise BackendError("the plot needs matplotlib, which is not installed; pip install 'minicnn[plot]', or leave "
                           "--plot out") from None
    matplotlib.use("agg")
    import matplotlib.pyplot
    return matplotlib.pyplot
