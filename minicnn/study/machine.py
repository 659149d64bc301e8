"""What this machine and installation are, and what about them costs time: the facts behind `minicnn doctor`."""

import ctypes
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("minicnn", "numpy", "numba", "llvmlite", "rich", "pillow", "safetensors")
OPTIONAL = ("matplotlib", "pytest", "torch", "numba-cuda")
FEATURES = ("sse4.2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512vnni", "avx512bf16", "amx-tile", "neon", "sve")
AVX512_CORES = ("SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")
AVX2_CORES = (*AVX512_CORES, "HASWELL", "ZEN", "EXCAVATOR")


def facts():
    """All facts by section: {"versions", "cpu", "threads", "blas", "cache", "resources", "gpu"}, each a dict."""
    return {"versions": versions(), "cpu": cpu(), "threads": threads(), "blas": blas(), "cache": cache(),
            "resources": resources(), "gpu": gpu()}


def versions():
    """Python's, the platform's and the packages' versions; None for an optional package that is not installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def cpu():
    """Model, what LLVM takes it for, vector features, and the CPUs that this process may use."""
    import llvmlite.binding as llvm
    has = llvm.get_host_cpu_features()
    return {"model": _cpu_model(), "llvm": llvm.get_host_cpu_name(), "features": [f for f in FEATURES if has.get(f)],
            "cpus": os.cpu_count(), "usable": usable_cpus()}


def _cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cpus():
    """CPUs that this process may run on: the machine's, cut by its affinity and by its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed


def threads():
    """Numba's thread count and threading layer (a small kernel is run to start it)."""
    import numpy as np

    import kernels
    kernels.activation.relu_forward(np.zeros((1, 1, 8, 8), np.float32))
    return {"count": kernels.threads.get_num_threads(), "layer": kernels.threads.layer()}


def blas():
    """Which BLAS NumPy was built with and, if it is OpenBLAS, the CPU core whose kernels it chose and its threads."""
    import numpy as np
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = {"name": built.get("name"), "version": built.get("version"), "core": None, "threads": None}
    library = _openblas()
    if library is not None:
        core = _symbol(library, "get_corename", ctypes.c_char_p)
        count = _symbol(library, "get_num_threads", ctypes.c_int)
        found["core"] = core and core().decode()
        found["threads"] = count and count()
    return found


def _openblas():
    """The OpenBLAS that came with NumPy's wheel, or None."""
    import numpy as np
    package = Path(np.__file__).parent
    for place in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(place.glob("*openblas*")) if place.is_dir() else ():
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                continue
    return None


def _symbol(library, name, result):
    for symbol in (f"scipy_openblas_{name}64_", f"scipy_openblas_{name}", f"openblas_{name}64_", f"openblas_{name}"):
        if hasattr(library, symbol):
            function = getattr(library, symbol)
            function.restype, function.argtypes = result, []
            return function
    return None


def gpu():
    """{"name": the GPU that "cuda" means, or None, "why_not": a sentence where there is none, "simulated"}"""
    from kernels import device
    reason = device.why_not()
    if reason:
        return {"name": None, "why_not": reason, "simulated": False}
    from kernels.device import shim
    return {"name": shim.name(), "why_not": None, "simulated": shim.SIMULATED}


def cache():
    """Where Numba keeps the compiled kernels, how many files and bytes they are, and whether it can write there."""
    import kernels
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    place = Path(chosen) if chosen else Path(kernels.__file__).parent
    files = [path for path in place.rglob("*.nb[ic]") if path.is_file()]
    return {"folder": str(place), "files": len(files), "bytes": sum(path.stat().st_size for path in files),
            "writable": os.access(place, os.W_OK) if place.exists() else os.access(place.parent, os.W_OK)}


def resources():
    """Free memory, and free disk where the command runs, in bytes."""
    memory = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, value = line.split(":", 1)
            memory[name] = int(value.split()[0]) * 1024
    except (OSError, ValueError):
        pass
    return {"memory_total": memory.get("MemTotal"), "memory_free": memory.get("MemAvailable"),
            "disk_free": shutil.disk_usage(".").free, "folder": str(Path.cwd())}


def advice(found):
    """One line for each thing that is off in what facts() returned: what it is, what it costs, what to do."""
    lines = [*_blas_advice(found), *_thread_advice(found)]
    if not found["cache"]["writable"]:
        lines.append(f"Numba cannot keep compiled kernels in {found['cache']['folder']}: every start compiles them again; "
                     "set NUMBA_CACHE_DIR to a folder you can write to")
    elif not found["cache"]["files"]:
        lines.append("no kernel is compiled yet, so the first run of each takes seconds; `minicnn warmup` does that now")
    free = found["resources"]
    if free["memory_free"] is not None and free["memory_free"] < 2 << 30:
        lines.append("less than 2 GiB of memory is free; train with a smaller --batch-size")
    if free["disk_free"] < 1 << 30:
        lines.append(f"less than 1 GiB of disk is free in {free['folder']}; checkpoints may fail to write")
    return lines


def _blas_advice(found):
    features, core = found["cpu"]["features"], (found["blas"]["core"] or "").upper()
    if not core:
        return []
    if "avx512f" in features and core not in AVX512_CORES and not core.startswith("ZEN"):
        return [f"NumPy's OpenBLAS takes this CPU for {core} although it has AVX-512: matrix products run at about half "
                "speed; set OPENBLAS_CORETYPE=SkylakeX before the start"]
    if "avx2" in features and core not in AVX2_CORES:
        return [f"NumPy's OpenBLAS takes this CPU for {core} although it has AVX2: matrix products run at about half "
                "speed; set OPENBLAS_CORETYPE=Haswell before the start"]
    return []


def _thread_advice(found):
    count, usable, layer = found["threads"]["count"], found["cpu"]["usable"], found["threads"]["layer"]
    lines = []
    if count > usable:
        lines.append(f"{count} threads share {usable} CPUs and wait for each other; set NUMBA_NUM_THREADS={usable}")
    if count < usable:
        lines.append(f"{count} of {usable} CPUs are used; unset NUMBA_NUM_THREADS or set it to {usable}")
    if layer == "workqueue":
        lines.append("the threading layer is workqueue, which takes one Python thread at a time; install tbb, or on Linux "
                     "libgomp, for another")
    return lines


def running():
    """One line on where figures were measured: CPU, threads, Python, NumPy, Numba."""
    import kernels
    found = versions()
    return (f"{_cpu_model()}, {kernels.threads.get_num_threads()} threads, Python {found['python']}, NumPy "
            f"{found['numpy']}, Numba {found['numba']}, minicnn {found['minicnn'] or 'from source'}, {sys.platform}")
