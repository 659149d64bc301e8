"""What the compiler makes of the kernels, without a GPU: PTX, registers, local memory, spills.

    with shim.Tracing() as launches: ...        run ops; nothing is launched, every launch is listed
    for function, signature in kernels_of(launches): ptx = compile_ptx(function, signature, (8, 0))

The simulator infers no types and allots no registers; compilation does both, for any compute capability. nvJitLink, which
comes with the extra `cuda`, then assembles the PTX and says what a thread takes.
"""

import re

from kernels.device.shim import cuda


def kernels_of(launches):
    """[(kernel, signature)] of what Tracing listed, each once."""
    found = {}
    for function, args in launches:
        signature = tuple(function.typeof_pyval(arg) for arg in args)
        found[function.py_func.__module__, function.py_func.__qualname__, _constants(function), signature] = function
    return [(function, key[3]) for key, function in found.items()]


def name_of(function, signature):
    """conv2d._kernel[8] float32: the room, the kernel, the constants it was made with, the dtype of its first array."""
    module = function.py_func.__module__.removeprefix("kernels.").removesuffix(".cuda")
    made_with = ",".join(str(c) for c in _constants(function))
    dtypes = [str(t.dtype) for t in signature if hasattr(t, "layout")]
    name = function.py_func.__qualname__.split(".")[-1]
    return f"{module}.{name}{f'[{made_with}]' if made_with else ''} {dtypes[0]}"


def compile_ptx(function, signature, capability):
    """The PTX text of one kernel for a compute capability such as (8, 0)."""
    bounds = function.targetoptions.get("launch_bounds")
    return cuda.compile_ptx(function.py_func, signature, cc=capability, device=False, launch_bounds=bounds)[0]


def resources(ptx, capability):
    """{"registers", "stack", "spills", "shared"} of a kernel: registers, and bytes, that each thread (shared: block) takes."""
    from cuda.bindings import nvjitlink
    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = ptx.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel.ptx")
        nvjitlink.complete(handle)
        size = nvjitlink.get_info_log_size(handle)
        log = bytearray(size)
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return _read(log.decode(errors="replace"))


def _read(log):
    def number(pattern):
        match = re.search(pattern, log)
        return int(match[1]) if match else 0
    return {"registers": number(r"Used (\d+) registers"), "stack": number(r"(\d+) bytes stack frame"),
            "spills": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            "shared": number(r"(\d+) bytes smem")}


def _constants(function):
    cells = function.py_func.__closure__ or ()
    return tuple(cell.cell_contents for cell in cells if isinstance(cell.cell_contents, int))
