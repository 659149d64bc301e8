# Two commands for a new user: `make demo` and `make test`. Each target makes .venv and installs what it needs, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-jit test-no-jit test-cuda-sim test-cuda-ptx lint bench clean

help:
	@echo "make demo    study ResNet-20 on handwritten digits: summary, gradient check, training, kernel times, a page"
	@echo "make test    the whole test-suite, then the kernels once more without the JIT, for coverage, then the CUDA kernels:"
	@echo "             in Numba's simulator (test-cuda-sim) and compiled to PTX (test-cuda-ptx); neither needs a GPU"
	@echo "make lint    ruff"
	@echo "make bench   the ladder of kernels, every operation"
	@echo "make clean   remove .venv, caches and runs"

demo: .venv/.installed
	$(BIN)/minicnn study resnet20 --data digits --out demo

test: test-jit test-no-jit test-cuda-sim test-cuda-ptx

# Two workers share the cores, so that threads must not: one BLAS thread each, and idle OpenMP threads sleep.
test-jit: .venv/.test
	OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not ptx"

# Compiled code is invisible to coverage: here the kernels run as plain Python, at the small sizes of the op cases.
test-no-jit: .venv/.test
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -n 2 -m "not jit and not ptx" tests/kernels tests/minicnn/test_ops.py \
		--cov=kernels --cov-report=term

# NUMBA_ENABLE_CUDASIM is read when Numba is imported: a process of its own.
test-cuda-sim: .venv/.cuda
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/kernels/device tests/kernels/test_device_absent.py

# Tests are handed out one by one: of the two that compile all kernels, neighbours in the file, each worker then gets one.
test-cuda-ptx: .venv/.cuda
	$(BIN)/python -m pytest -q -n 2 --maxschedchunk 1 tests/kernels/device/test_device_ptx.py tests/kernels/device/test_device_pool.py
	@cat .pytest_cache/d/ptx/*.txt

lint: .venv/.lint
	$(BIN)/ruff check .

bench: .venv/.installed
	$(BIN)/minicnn bench all

clean:
	rm -rf .venv .pytest_cache .hypothesis .ruff_cache .coverage runs demo build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "minicnn needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.test: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

.venv/.cuda: .venv/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cuda]'
	@touch $@

.venv/.lint: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	@touch $@
