"""What a network is made of: for each layer its output, parameters, work, memory and receptive field."""

import math
import weakref
from dataclasses import asdict, dataclass

import numpy as np

from minicnn.autograd import Tensor, no_grad, observing
from minicnn.nn.module import Parameter
from minicnn.study import figures
from minicnn.study.receptive_field import FieldObserver, ReceptiveField
from minicnn.study.trace import Tracer, check_input_shape, dtype_of, preserved

COLUMNS = ("layer", "operation", "output", "parameters", "MACs", "FLOPs", "memory", "sees")
WIDTHS = (24, 17, 14, 10, 7, 7, 8, 6)


@dataclass(frozen=True)
class Row:
    """One operation of a network.

    path: the module's dotted name ("" for the network itself); operation: what it does; output_shape: with the batch, ()
    where the module passes its input on; parameters: those not counted in an earlier row; macs, flops: of the whole batch;
    activation_bytes: size of the output, 0 where it shares memory with an input; field: the ReceptiveField or None;
    depth: layers with weights on the longest way from the image to here.
    """

    path: str
    operation: str
    output_shape: tuple
    parameters: int = 0
    macs: int = 0
    flops: int = 0
    activation_bytes: int = 0
    field: ReceptiveField | None = None
    depth: int = 0


@dataclass(frozen=True)
class Summary:
    """The rows of a network in the order they run in evaluation mode; str() is a table."""

    name: str
    input_shape: tuple
    batch: int
    rows: tuple
    parameters: int

    macs = property(lambda self: sum(row.macs for row in self.rows))
    flops = property(lambda self: sum(row.flops for row in self.rows))
    activation_bytes = property(lambda self: sum(row.activation_bytes for row in self.rows))
    depth = property(lambda self: max((row.depth for row in self.rows), default=0))
    unused_parameters = property(lambda self: self.parameters - sum(row.parameters for row in self.rows))

    @property
    def field(self):
        """The receptive field of the last map: what one unit sees before the layers without a spatial order; or None."""
        maps = [row.field for row in self.rows if row.field and len(row.output_shape) >= 4 and all(row.field.stride)]
        return maps[-1] if maps else None

    def as_dict(self):
        """Everything as numbers, strings, lists and dicts, for JSON."""
        totals = {"parameters": self.parameters, "unused_parameters": self.unused_parameters, "macs": self.macs,
                  "flops": self.flops, "activation_bytes": self.activation_bytes, "depth": self.depth}
        rows = []
        for row in self.rows:
            entry = asdict(row)
            entry["field"] = row.field and {"size": row.field.size, "stride": row.field.stride,
                                            "start": (row.field.height.start, row.field.width.start)}
            rows.append(entry)
        return {"model": self.name, "input_shape": self.input_shape, "batch": self.batch, "totals": totals, "layers": rows}

    def __str__(self):
        lines = [_line(COLUMNS), "-" * len(_line(COLUMNS)), *[_line(self._cells(row)) for row in self.rows]]
        return "\n".join([*lines, lines[1], *self.totals()])

    def _cells(self, row):
        output = figures.shape(row.output_shape[1:]) if row.output_shape else "as its input"
        return (row.path or "(network)", row.operation, output, f"{row.parameters:,}" if row.parameters else "",
                figures.count(row.macs) if row.macs else "", figures.count(row.flops) if row.flops else "",
                figures.memory(row.activation_bytes) if row.activation_bytes else "", self.sees(row))

    def sees(self, row):
        """The size of a row's receptive field as text: "35", "35x51", or "all" where one unit sees the whole image."""
        if row.field is None:
            return ""
        whole = all(span.jump == 0 and span.start <= 0 and span.start + span.size >= side
                    for span, side in zip(row.field, self.input_shape[-2:]))
        return "all" if whole else str(row.field)

    def totals(self):
        """The lines below the table."""
        image = figures.shape(self.input_shape)
        lines = [f"{self.name}, input {image}" + (f", batch {self.batch}" if self.batch > 1 else ""),
                 f"parameters   {self.parameters:,}",
                 f"MACs         {self.macs:,}  ({figures.count(self.flops)}FLOPs: 2 x MACs and the elementwise work)",
                 f"activations  {figures.memory(self.activation_bytes)} forward",
                 f"depth        {self.depth} layers with weights"]
        if self.field:
            lines.append(f"a unit of the last map sees {self.field} pixels of the image, its neighbour the same "
                         f"{self.field.stride[0]} further on")
        if self.unused_parameters:
            lines.append(f"{self.unused_parameters:,} parameters belong to layers that run in training only")
        return lines


class _Observer(Tracer):
    """Makes a Row of each op, and of each layer without one."""

    def __init__(self, model, image):
        super().__init__(model)
        self.rows, self._counted, self._begun = [], set(), []
        self._fields, self._depths = FieldObserver(image), weakref.WeakKeyDictionary()

    def enter(self, module):
        super().enter(module)
        self._begun.append(len(self.rows))

    def leave(self, module):
        if self._begun.pop() == len(self.rows) and not any(module.children()) and self.path:
            self.rows.append(Row(self.path, type(module).__name__, ()))
        super().leave(module)

    def forward(self, op, inputs, output, seconds):
        self._fields.forward(op, inputs, output, seconds)
        shapes = [x.shape for x in inputs]
        weights = [x for x in inputs if isinstance(x, Parameter) and id(x) not in self._counted]
        self._counted.update(id(x) for x in weights)
        macs = op.macs(output.shape, *shapes)
        depth = max((self._depths.get(x, 0) for x in inputs), default=0)
        depth += bool(macs) and any(isinstance(x, Parameter) for x in inputs)
        self._depths[output] = depth
        shares = any(np.may_share_memory(output.data, x.data) for x in inputs)
        self.rows.append(Row(
            self.path or "", type(op).__name__, output.shape, sum(x.size for x in weights), macs,
            op.flops(output.shape, *shapes), 0 if shares else output.data.nbytes, self._fields.of(output), depth))


def summary(model, input_shape, batch=1, name=None):
    """Run `model` once on an image of zeros in evaluation mode and say what each layer did -> Summary.

    input_shape: without the batch, (channels, height, width); name: for the table (default: the class). The
    model's modes and running statistics stay as they were.
    Raises ShapeError for an impossible shape, and whatever the layers raise for one that does not fit them.
    """
    image = Tensor(np.zeros(check_input_shape(input_shape, batch), dtype_of(model)))
    observer = _Observer(model, image)
    with preserved(model), no_grad(), observing(observer):
        model.eval()
        model(image)
    parameters = sum(math.prod(parameter.shape) for parameter in model.parameters())
    return Summary(name or type(model).__name__, tuple(input_shape), batch, tuple(observer.rows), parameters)


def _line(cells):
    """One line of at most 100 columns: text to the left, numbers to the right."""
    parts = []
    for i, (cell, width) in enumerate(zip(cells, WIDTHS)):
        cell = cell if len(cell) <= width else "…" + cell[1 - width:]
        parts.append(cell.ljust(width) if i < 3 else cell.rjust(width))
    return " ".join(parts).rstrip()
