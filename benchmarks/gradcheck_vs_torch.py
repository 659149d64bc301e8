"""minicnn.gradcheck against torch.autograd.gradcheck on the planted bugs of the tests, each as a torch Function too.

    python benchmarks/gradcheck_vs_torch.py        # needs torch; writes benchmarks/results/gradcheck_vs_torch.json

Every bug runs through torch's checker in its default and its fast mode, as a torch.autograd.Function with the same forward
and the same wrong backward, at the same float64 inputs. What counts as found is any failure; the message is kept.
"""

import functools
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]      # in the place of this folder, whose cuda.py hides the package cuda

from gradcheck_corpus import BUGS  # noqa: E402
from gradcheck_planting import OPS, Bug, Planted  # noqa: E402

from benchmarks import results  # noqa: E402
from kernels import threads  # noqa: E402
from minicnn import gradcheck  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "gradcheck_vs_torch.json"


def torch_function(bug, right=False):
    """The bug as a function of torch tensors; right=True leaves the mistake out."""
    memory = {}

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            arrays = [t.detach().numpy() for t in tensors]
            ctx.op = _right_op(bug, arrays) if right else Planted(bug, memory)
            return torch.from_numpy(np.array(ctx.op.forward(*arrays)))

        @staticmethod
        def backward(ctx, gy):
            gradients = ctx.op.backward(gy.detach().numpy().copy())
            gradients = gradients if isinstance(gradients, tuple | list) else (gradients,)
            return tuple(torch.from_numpy(np.ascontiguousarray(g).reshape(np.shape(g))) for g in gradients)

    return Function.apply


def _right_op(bug, arrays):
    op = OPS[bug.op][0]()
    op.needs = (True,) * len(arrays)
    return op


def by_torch(bug, fast, right=False):
    """(found, seconds, the first line of what it said)"""
    inputs = [torch.from_numpy(a).requires_grad_() for a in bug.arrays(np.random.default_rng(0))]
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.autograd.gradcheck(torch_function(bug, right), inputs, fast_mode=fast)
        found, message = False, ""
    except Exception as error:      # its own error, or whatever the wrong backward makes autograd raise
        found, message = True, str(error).strip().splitlines()[0]
    return {"found": found, "seconds": time.perf_counter() - start, "message": message[:200]}


def by_minicnn(bug):
    """The same for minicnn, and whether the diagnosis names the mistake."""
    arrays = bug.arrays(np.random.default_rng(0))
    start = time.perf_counter()
    report = gradcheck.check(bug.function(), arrays, reference=bug.reference)
    seconds = time.perf_counter() - start
    failures = report.failures
    message = f"{failures[0].kind}: {failures[0].diagnosis or failures[0].reason}" if failures else ""
    return {"found": not report, "seconds": seconds, "message": message[:200],
            "named": bool({f.kind for f in failures} & bug.kinds)}


def alarm_on_right_op(op, inputs):
    """Whether torch's checker finds fault with the op as it is, at the inputs of its bugs."""
    return by_torch(Bug("none", op, set(), inputs=inputs), False, right=True)["found"]


def main():
    """Run all, print the sums, write the JSON."""
    gradcheck.check(BUGS[0].function(), BUGS[0].arrays(np.random.default_rng(0)))       # compiles
    rows = []
    alarms = functools.cache(alarm_on_right_op)
    for bug in BUGS:
        rows.append({"op": bug.op, "bug": bug.name, "minicnn": by_minicnn(bug), "torch": by_torch(bug, False),
                     "torch fast mode": by_torch(bug, True),
                     "torch alarm on the right op": alarms(bug.op, bug.inputs)})
    checkers = ("minicnn", "torch", "torch fast mode")
    total = {c: {"found": sum(r[c]["found"] for r in rows), "seconds": round(sum(r[c]["seconds"] for r in rows), 2),
                 "missed": [f"{r['op']}: {r['bug']}" for r in rows if not r[c]["found"]]} for c in checkers}
    total["minicnn"]["named"] = sum(r["minicnn"]["named"] for r in rows)
    total["torch"]["false alarms on right ops"] = sum(r["torch alarm on the right op"] for r in rows)
    results.write(RESULT, "python benchmarks/gradcheck_vs_torch.py", threads.get_num_threads(),
                  {"bugs": len(rows), "total": total, "rows": rows})
    for checker, figures in total.items():
        print(f"{checker}: {figures['found']} of {len(rows)} found in {figures['seconds']} s; missed {figures['missed']}")
    print(f"named by minicnn: {total['minicnn']['named']}; {RESULT}")


if __name__ == "__main__":
    main()
