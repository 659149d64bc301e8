import json

import pytest

from minicnn.study import figures, machine


def healthy():
    return {"cpu": {"features": ["avx2"], "usable": 2}, "threads": {"count": 2, "layer": "omp"},
            "blas": {"core": "Haswell"}, "cache": {"folder": "/somewhere", "files": 3, "writable": True},
            "resources": {"memory_free": 8 << 30, "disk_free": 8 << 30, "folder": "/here"}}


def test_facts_of_this_machine():
    found = machine.facts()
    json.dumps(found)
    assert found["versions"]["numpy"]
    assert 1 <= found["cpu"]["usable"] <= found["cpu"]["cpus"]
    assert found["threads"]["count"] >= 1
    assert found["resources"]["disk_free"] > 0
    assert all(isinstance(line, str) for line in machine.advice(found))
    assert "\n" not in machine.running()


def test_tile_fits_the_registers():
    """The tile of sums, a row of B and a value of A must be in registers together."""
    tile = machine.tile()
    vectors = tile["columns"] * 4 // tile["vector_bytes"]
    assert tile["rows"] * vectors + vectors + 1 <= tile["registers"]


def test_speed_of_blas_is_measured():
    assert machine.matmul_speed() > 0.1
    assert machine.matmul_speed("Prescott") > 0.1


def test_stale_entries_of_the_cache(tmp_path, monkeypatch):
    """Of another Python, another Numba, a changed source and a source that is gone; nothing in them is unpickled."""
    import os
    import sys

    import kernels
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    here, python = tmp_path / "__pycache__", f"py{sys.version_info.major}{sys.version_info.minor}"
    here.mkdir()
    import numba
    good = b"\x80\x04\x8c\x06" + numba.__version__.encode()
    for name in ("good", "changed", "other"):
        (tmp_path / f"{name}.py").touch()
    entries = [f"good.f-3.{python}", f"changed.f-3.{python}", f"gone.f-3.{python}", "good.f-3.py39", f"other.f-3.{python}"]
    for entry in entries:
        (here / f"{entry}.nbi").write_bytes(b"0.1" if entry.startswith("other") else good)
        (here / f"{entry}.1.nbc").write_bytes(b"code")
    os.utime(tmp_path / "changed.py", (2**33, 2**33))
    found = machine.cache()
    assert (found["files"], found["stale_files"]) == (10, 8)
    assert found["stale_bytes"] == found["bytes"] - len(good) - 4


def test_a_gpu_or_why_not():
    found = machine.gpu()
    assert (found["name"] is None) == bool(found["why_not"])


def test_the_command(capsys):
    from minicnn.cli import main
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for heading in ("versions", "vectors", "micro-kernel", "threads", "BLAS", "GPU", "CUDA driver", "kernel cache",
                    "free disk"):
        assert f"\n  {heading} " in f"\n{out}"
    assert "GFLOP/s" in out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tile"]["rows"] in (4, 8)


def test_nothing_is_off():
    assert machine.advice(healthy()) == []


@pytest.mark.parametrize(("section", "changes", "words"), [
    ("blas", {"core": "Prescott"}, "takes this CPU for PRESCOTT although it has AVX2.*OPENBLAS_CORETYPE=Haswell"),
    ("cpu", {"features": ["avx2", "avx512f"]}, "although it has AVX-512.*OPENBLAS_CORETYPE=SkylakeX"),
    ("threads", {"count": 8}, "8 threads share 2 CPUs.*NUMBA_NUM_THREADS=2"),
    ("threads", {"count": 1}, "1 of 2 CPUs are used"),
    ("threads", {"layer": "workqueue"}, "workqueue.*install tbb"),
    ("cache", {"writable": False}, "compiles them again; set NUMBA_CACHE_DIR"),
    ("cache", {"files": 0}, "minicnn warmup"),
    ("cache", {"stale_files": 4, "stale_bytes": 5000}, "4 files of the kernel cache .* free 4 KiB delete .* in /somewhere"),
    ("blas", {"core": "Prescott", "speed": 10.4, "better_speed": 40.0}, "run at 10 GFLOP/s instead of 40; set OPENBLAS_COR"),
    ("resources", {"memory_free": 1 << 20}, "less than 2 GiB of memory"),
    ("resources", {"disk_free": 1 << 20}, "less than 1 GiB of disk is free in /here"),
])
def test_advice(section, changes, words):
    import re
    found = healthy()
    found[section] = {**found[section], **changes}
    (line,) = machine.advice(found)
    assert re.search(words, line)


def test_unknown_is_not_off():
    found = healthy()
    found["blas"]["core"] = found["resources"]["memory_free"] = None
    assert machine.advice(found) == []


@pytest.mark.parametrize(("function", "value", "text"), [
    (figures.count, 0, "0"), (figures.count, 999, "999"), (figures.count, 999_600, "1.00 M"),
    (figures.count, 40_551_040, "40.6 M"),
    (figures.count, 1e12, "1.00 T"), (figures.count, 123_456, "123 k"),
    (figures.memory, 40, "40 B"), (figures.memory, 2048, "2.00 KiB"), (figures.memory, 3 << 30, "3.00 GiB"),
    (figures.duration, None, "-"), (figures.duration, 2e-6, "2 µs"), (figures.duration, 0.0123, "12.3 ms"),
    (figures.duration, 1.0, "1.00 s"), (figures.duration, 119.0, "119 s"), (figures.duration, 600, "10.0 min"),
    (figures.shape, (3, 32, 32), "3x32x32"), (figures.error, 3.2e-9, "3e-09")])
def test_figures(function, value, text):
    assert function(value) == text
