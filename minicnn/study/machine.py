"""What this machine and installation are, and what about them costs time: the facts behind `minicnn doctor`."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("minicnn", "numpy", "numba", "llvmlite", "rich", "pillow", "safetensors")
OPTIONAL = ("matplotlib", "tensorboardX", "shtab", "numba-cuda", "pytest", "torch")
FEATURES = ("sse4.2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512vnni", "avx512bf16", "amx-tile", "neon", "sve")
_CACHED = re.compile(r"(?P<entry>(?P<module>[^.]+)\..+-\d+\.py(?P<python>\d+)\w*)(\.\d+)?\.nb[ic]")
AVX512_CORES = ("SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")
AVX2_CORES = (*AVX512_CORES, "HASWELL", "ZEN", "EXCAVATOR")


def facts():
    """All facts by section: {"versions", "cpu", "tile", "threads", "blas", "gpu", "cache", "resources"}, each a dict."""
    return {"versions": versions(), "cpu": cpu(), "tile": tile(), "threads": threads(), "blas": blas(), "gpu": gpu(),
            "cache": cache(), "resources": resources()}


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


def tile():
    """The micro-kernel's tile in float32, rows x columns (three vectors), and the registers that it was chosen for."""
    from kernels.gemm import matmul, micro
    vector_bytes, count = micro.registers()
    return {"rows": matmul.ROWS, "columns": 3 * micro.lanes("float32"), "vector_bytes": vector_bytes, "registers": count}


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


def matmul_speed(core=None):
    """GFLOP/s of NumPy's float32 product of two 1024 x 1024 matrices, in a process of its own; None if it cannot be had.

    core: the CPU core whose kernels OpenBLAS is told to take.
    """
    program = ("import time, numpy as np; a = np.ones((1024, 1024), np.float32); a @ a; times = []\n"
               "for _ in range(7): start = time.perf_counter(); a @ a; times.append(time.perf_counter() - start)\n"
               "print(2 * 1024**3 / min(times) / 1e9)")
    environment = {**os.environ, **({"OPENBLAS_CORETYPE": core} if core else {})}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    try:
        return float(ran.stdout)
    except ValueError:
        return None


def gpu():
    """{"name", "why_not", "driver"}: the GPU that kernels would run on, else why none can be used; the driver's version."""
    from kernels import device
    reason = device.why_not()
    if reason:
        return {"name": None, "why_not": reason, "driver": _cuda_driver()}
    from kernels.device import shim
    return {"name": shim.name(), "why_not": None, "driver": _cuda_driver()}


def _cuda_driver():
    """The CUDA version that NVIDIA's driver supports, such as "13.0"; None without a driver."""
    try:
        library, version = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def cache():
    """Where Numba keeps the compiled kernels: files, bytes, those of them that are stale, and whether it can write there."""
    import kernels
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    place = Path(chosen) if chosen else Path(kernels.__file__).parent
    files = [path for path in place.rglob("*.nb[ic]") if path.is_file()]
    stale = {_entry(path) for path in files if path.suffix == ".nbi" and _is_stale(path)}
    dead = [path for path in files if _entry(path) in stale]
    return {"folder": str(place), "files": len(files), "bytes": sum(path.stat().st_size for path in files),
            "stale_files": len(dead), "stale_bytes": sum(path.stat().st_size for path in dead),
            "writable": os.access(place, os.W_OK) if place.exists() else os.access(place.parent, os.W_OK)}


def _entry(path):
    """What an index (gemm.matmul-12.py311.nbi) and its code (gemm.matmul-12.py311.1.nbc) have in common."""
    match = _CACHED.fullmatch(path.name)
    return path.parent, match and match["entry"]


def _is_stale(index):
    """Whether Numba will not use an index again: of another Python or Numba, or of a source that has changed or is gone.

    Nothing in the file is unpickled: it begins with Numba's version.
    """
    import numba
    match = _CACHED.fullmatch(index.name)
    if match is None or match["python"] != f"{sys.version_info.major}{sys.version_info.minor}":
        return True
    with open(index, "rb") as file:
        if numba.__version__.encode() not in file.read(64):
            return True
    source = index.parent.parent / f"{match['module']}.py"
    if index.parent.name != "__pycache__":      # under NUMBA_CACHE_DIR the source is not beside it
        return False
    return not source.exists() or source.stat().st_mtime > index.stat().st_mtime


def resources():
    """Free memory, and free disk where the command runs, in bytes."""
    memory = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, value = line.split(":", 1)
            memory[name] = int(value.split()[0]) * 1024
    except (OSError, ValueError):
        pass
    return {"memory_total": memory.get("MemTotal"), "memory_free": _within_control_group(memory.get("MemAvailable")),
            "disk_free": shutil.disk_usage(".").free, "folder": str(Path.cwd())}


def _within_control_group(free):
    """The free memory, cut by the limit of the process's control group."""
    try:
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        return free if most == "max" or free is None else min(free, int(most) - int(used))
    except (OSError, ValueError):
        return free


def advice(found):
    """One line for each thing that is off in what facts() returned: what it is, what it costs, what to do."""
    lines = [*_blas_advice(found), *_thread_advice(found)]
    if not found["cache"]["writable"]:
        lines.append(f"Numba cannot keep compiled kernels in {found['cache']['folder']}: every start compiles them again; "
                     "set NUMBA_CACHE_DIR to a folder you can write to")
    elif not found["cache"]["files"]:
        lines.append("no kernel is compiled yet, so the first run of each takes seconds; `minicnn warmup` does that now")
    if found["cache"].get("stale_files"):
        lines.append(f"{found['cache']['stale_files']} files of the kernel cache are of older versions and never used again; "
                     f"to free {found['cache']['stale_bytes'] >> 10:,} KiB delete all *.nbi and *.nbc in "
                     f"{found['cache']['folder']}, then run `minicnn warmup`")
    free = found["resources"]
    if free["memory_free"] is not None and free["memory_free"] < 2 << 30:
        lines.append("less than 2 GiB of memory is free; train with a smaller --batch-size")
    if free["disk_free"] < 1 << 30:
        lines.append(f"less than 1 GiB of disk is free in {free['folder']}; checkpoints may fail to write")
    return lines


def better_core(found):
    """(CPU core whose kernels OpenBLAS should take, the feature that it overlooks), or None where its own choice is right."""
    features, core = found["cpu"]["features"], (found["blas"]["core"] or "").upper()
    if core and "avx512f" in features and core not in AVX512_CORES and not core.startswith("ZEN"):
        return "SkylakeX", "AVX-512"
    if core and "avx2" in features and core not in AVX2_CORES:
        return "Haswell", "AVX2"
    return None


def _blas_advice(found):
    better = better_core(found)
    if better is None:
        return []
    core, feature = better
    speeds = found["blas"].get("speed"), found["blas"].get("better_speed")
    cost = f" of NumPy run at {speeds[0]:.0f} GFLOP/s instead of {speeds[1]:.0f}" if all(speeds) else " of NumPy run slowly"
    return [f"NumPy's OpenBLAS takes this CPU for {found['blas']['core'].upper()} although it has {feature}: matrix "
            f"products{cost}; set OPENBLAS_CORETYPE={core} before the start"]


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
