"""Run a fuzz target under atheris (libFuzzer for Python):

    python tests/fuzz/run.py TARGET [libFuzzer's options and folders]
    python tests/fuzz/run.py all 600             # every target for so many seconds, one after the other

New inputs go to build/fuzz/TARGET, findings beside them; inputs of the repository are in tests/fuzz/corpus/TARGET.
Memory is limited to 500 MB by libFuzzer; processor time by targets.run (libFuzzer's clock would count a sleeping machine).
"""

import subprocess
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")
LIMITS = ("-rss_limit_mb=500", "-malloc_limit_mb=500", "-timeout=1200", "-max_len=8192", "-print_final_stats=1")


def fuzz(name, *options):
    """Does not return: libFuzzer ends the process, with status 0 where it found nothing."""
    import atheris
    warnings.simplefilter("ignore")     # of the libraries that decode
    with atheris.instrument_imports(include=["minicnn.io", "minicnn.data", "minicnn.training", "zipfile", "ast", "json"]):
        from fuzz import targets
    target = targets.TARGETS[name]
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    folders = [] if any(not option.startswith("-") for option in options) else [str(found), str(CORPUS / name)]
    atheris.Setup([name, *LIMITS, f"-artifact_prefix={found.parent}/{name}-", *options, *folders],
                  lambda content: targets.run(target, content))
    atheris.Fuzz()


def fuzz_all(seconds):
    """Each target in a process of its own; returns the exit status: 1 if any found something."""
    status = 0
    for name in sorted(path.name for path in CORPUS.iterdir()):
        ran = subprocess.run([sys.executable, __file__, name, f"-max_total_time={seconds}"], capture_output=True, text=True)
        runs = [line for line in ran.stderr.splitlines() if "number_of_executed_units" in line or "peak_rss_mb" in line]
        print(f"{name}: {'nothing found' if ran.returncode == 0 else 'FOUND'}; {'; '.join(runs)}", flush=True)
        if ran.returncode:
            print(ran.stderr[-3000:], flush=True)
            status = 1
    return status


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(fuzz_all(int(sys.argv[2])) if sys.argv[1] == "all" else fuzz(*sys.argv[1:]))
