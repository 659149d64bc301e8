"""Every CUDA kernel compiles for compute capabilities 8.0 and 9.0, without a GPU; `make test-cuda-ptx` runs this and lists
what each takes. The simulator infers no types and allots no registers: this does both."""

import ast
import importlib.util
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from op_cases import CASES
from support import run_with_gradients

import kernels
from kernels import Window2d, device
from minicnn import Tensor, models, nn, ops, optim

absent = importlib.util.find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
reason = "needs numba-cuda, and not the simulator: pip install -e .[cuda]"
pytestmark = [pytest.mark.ptx, pytest.mark.skipif(absent, reason=reason)]
CAPABILITIES = [(8, 0), (9, 0)]
WIDTHS = (3, 20, 40, 100)           # filters: one for each height of a tile
MOST_REGISTERS = 255
MOST_SHARED = 48 << 10              # bytes of a block, unless asked for in another way
TILES = ("conv2d.gather_product", "conv2d.correlation", "gemm.product_kernel")
# float32 arrays, yet some arithmetic in float64, on purpose: sums of sums, the loss, the moments of a channel in the end, and a
# conversion. Most GPUs do it at a 32nd or a 64th of the speed of float32: no kernel that goes over images may do so per value.
IN_FLOAT64 = {"device.sums._chunks": 16, "device.sums._layers": 12, "device.sums._square_chunks": 24,
              "device.copies._convert": 4, "batch_norm._moments": 32, "batch_norm._finish_statistics": 24,
              "batch_norm._products": 32, "loss._log_softmax": 200, "loss._log_softmax_backward": 110, "loss._losses": 40,
              "loss._cross_entropy_backward": 40}


def trace_everything():
    """All launches of all op cases, of an update and of what trains, in both dtypes; nothing runs."""
    from kernels.device import shim
    with shim.Tracing() as launches:
        for dtype in ("float32", "float64"):
            for case in CASES:
                arrays = [np.ones(shape, dtype) for shape in case.shapes]
                run_with_gradients(lambda *t, case=case: ops.to(case.run(*[ops.to(x, "cuda") for x in t]), "cpu"), arrays)
            _tiles(dtype)
            _update(dtype)
    return launches


def _tiles(dtype):
    """Every height of a tile, for the three kernels that have them, and a sum long enough to be cut."""
    x, gy = (device.to_device(np.ones(shape, dtype)) for shape in ((1, 1, 20, 20), (1, 2, 20, 20)))
    kernels.conv2d.backward(gy, x, device.to_device(np.ones((2, 1, 1, 1), dtype)), Window2d.of(1))
    for width in WIDTHS:
        x, w = (device.to_device(np.ones(shape, dtype)) for shape in ((1, 3, 5, 5), (width, 3, 3, 3)))
        y = kernels.conv2d.forward(x, w, None, Window2d.of(3))
        kernels.conv2d.backward(y, x, w, Window2d.of(3))
        np.matmul(device.to_device(np.ones((width, 3), dtype)), device.to_device(np.ones((3, 2), dtype)))


def _update(dtype):
    layer = nn.Linear(3, 2).astype(dtype).to("cuda")
    layer(Tensor(device.to_device(np.ones((2, 3), dtype)))).sum().backward()
    nn.BatchNorm2d(3).astype(dtype).to("cuda")(Tensor(device.to_device(np.ones((2, 3, 2, 2), dtype))))
    kernels.pool2d.global_avg_forward(device.to_device(np.ones((1, 1, 20, 20), dtype)))
    x, one = device.to_device(np.ones((1, 3, 80, 80), dtype)), device.to_device(np.ones(3, dtype))      # a sum in chunks
    kernels.batch_norm.statistics(x)
    kernels.batch_norm.backward(x, x, one, one, one, 1e-5, True)
    optim.SGD(layer.parameters(), 0.1, 0.9).step()
    device.norm([p.grad for p in layer.parameters()])
    device.to_device(np.ones(3, dtype)).astype("float64" if dtype == "float32" else "float32")
    out = device.to_device(np.ones(3, dtype))
    out[0] = 1
    if dtype == "float32":
        from benchmarks import cuda as bench
        bench.launch(bench._multiply_adds, 1, 1, out, np.float32(1))
        bench.launch(bench._nothing, 1, 1, out)


@pytest.fixture(scope="module")
def found():
    """[(kernel, signature)] of all that can be launched."""
    from kernels.device import ptx
    return ptx.kernels_of(trace_everything())


def written():
    """(module, name) of every function in kernels/ that is decorated as a kernel."""
    root = Path(kernels.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(getattr(getattr(d, "func", d), "id", None) in ("kernel", "tile")
                                                         for d in node.decorator_list):
                yield "kernels." + ".".join(path.relative_to(root).with_suffix("").parts), node.name


def test_no_kernel_is_left_out(found):
    """The cases launch every kernel there is: one that none of them launches would go untested."""
    launched = {(f.py_func.__module__, f.py_func.__name__) for f, _ in found}
    assert set(written()) <= launched


def in_float64(text):
    """Instructions that compute in float64 or convert to or from it."""
    return sum(".f64" in name for name in re.findall(r"^\s+(?:@\S+\s+)?((?!ld|st|mov)[a-z][\w.]*)", text, re.MULTILINE))


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: f"{c[0]}.{c[1]}")
def test_every_kernel_compiles_and_stays_in_registers(found, capability, request):
    """No thread takes more registers than there are, spills any, or keeps an array in local memory; two blocks of the products'
    float32 tiles fit a multiprocessor; and float32 kernels compute in float32. The list is kept."""
    from kernels.device import ptx
    rows, beyond = [], []
    for function, signature in found:
        name = ptx.name_of(function, signature)
        text = ptx.compile_ptx(function, signature, capability)
        takes = {**ptx.resources(text, capability), "float64": in_float64(text)}
        rows.append((name, takes))
        most = 65536 // 256 // 2 if name.startswith(TILES) and name.endswith("float32") else MOST_REGISTERS
        allowed = IN_FLOAT64.get(name.split()[0], 0) if name.endswith("float32") else math.inf
        if (takes["spills"] or takes["stack"] or not 0 < takes["registers"] <= most or takes["shared"] > MOST_SHARED
                or takes["float64"] > allowed):
            beyond.append((name, takes))
    lines = [f"compute capability {capability[0]}.{capability[1]}: registers; bytes of stack, spills, shared "
             "memory; float64 instructions",
             *(f"  {name:60}" + "".join(f"{takes[key]:7}" for key in ("registers", "stack", "spills", "shared", "float64"))
               for name, takes in sorted(rows, key=lambda row: row[0]))]
    place = request.config.cache.mkdir("ptx") / f"{capability[0]}{capability[1]}.txt"
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert not beyond


@pytest.mark.parametrize("name", [n for n in models.names() if models.info(n).depth < 200 or n == "preact_resnet1001"])
def test_a_training_step_of_every_model_has_cuda_kernels(name, found, monkeypatch):
    """Forward, loss, backward and update of the whole network launch only kernels that are compiled here: no operation lacks
    its CUDA version, and no signature is one that was not looked at."""
    from kernels.device import pool, ptx, shim
    for draw in ("normal", "uniform"):          # nothing is computed, so that any weights do
        monkeypatch.setattr(nn.init, draw, lambda shape, *args, **more: np.zeros(shape, np.float32))
    model, labels = models.create(name, num_classes=10), np.array([1, 2])
    with shim.Tracing() as launches:
        optimizer = optim.SGD(model.to("cuda").parameters(), 0.1, 0.9, 1e-4)
        images = device.to_device(np.zeros((2, *models.info(name).input_shape), np.float32))
        output = model(Tensor(images))
        loss = model.loss(output, labels) if hasattr(model, "loss") else ops.cross_entropy(output, labels)
        loss.backward()
        optimizer.step()
    assert any(p.grad is not None for p in model.parameters())
    looked_at = {(f.py_func.__module__, f.py_func.__name__, signature) for f, signature in found}
    for function, signature in ptx.kernels_of(launches):
        assert (function.py_func.__module__, function.py_func.__name__, signature) in looked_at
    pool.forget_traced()


def test_a_thread_reads_runs_of_four_from_shared_memory(found):
    """What the inner loop of the products is built for: twice 64 multiply-adds between 4 loads of 16 bytes."""
    from kernels.device import ptx
    for function, signature in found:
        if ptx.name_of(function, signature).startswith("conv2d.gather_product[4,132,8") and "float32" in str(signature[0]):
            text = ptx.compile_ptx(function, signature, (8, 0))
            assert (text.count("fma.rn.f32"), text.count("ld.shared.v4.f32")) == (128, 8)
            break
    else:
        raise AssertionError("the tallest tile was not launched")
