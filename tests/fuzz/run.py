"""Run fuzz targets under atheris (libFuzzer for Python):

    python tests/fuzz/run.py TARGET … [-libFuzzer's options]      or: all
    python tests/fuzz/run.py all -max_total_time=600              every target for ten minutes, one after the other

New inputs go to build/fuzz/TARGET, what libFuzzer says to build/fuzz/TARGET.log, findings beside it; the inputs of the
repository are in tests/fuzz/corpus/TARGET. Memory is limited to 500 MB by libFuzzer; processor time by targets.run
(libFuzzer's clock would count a sleeping machine).
"""

import os
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")
LIMITS = ("-rss_limit_mb=500", "-malloc_limit_mb=500", "-timeout=1200", "-max_len=8192", "-print_final_stats=1")


def fuzz(target, options, place):
    """libFuzzer on one target in a process of its own -> (its exit status, 0 where it found nothing; seconds of processor
    time, which are fewer than those on the clock where the machine slept or had other work)."""
    name = target.__name__
    (place / name).mkdir(parents=True, exist_ok=True)
    child = os.fork()       # the instrumented modules are imported once, for all targets
    if child:
        _, status, used = os.wait4(child, 0)
        return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    log = os.open(place / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import atheris
    from fuzz import targets
    atheris.Setup([name, *LIMITS, f"-artifact_prefix={place}/{name}-", *options, str(place / name), str(CORPUS / name)],
                  lambda content: targets.run(target, content))
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process itself")


def main(names, options, place):
    """Fuzz the targets one after the other -> 1 if anything was found, else 0."""
    import atheris
    warnings.simplefilter("ignore")     # of the libraries that decode
    with atheris.instrument_imports(include=["minicnn", "zipfile", "ast", "json"]):
        from fuzz import targets
    status = 0
    for name in targets.TARGETS if names == ["all"] else names:
        found, seconds = fuzz(targets.TARGETS[name], options, place)
        said = (place / f"{name}.log").read_text(errors="replace")
        facts = dict(re.findall(r"stat::(\w+):\s+(\d+)", said))
        print(f"{name:<16} {'FOUND SOMETHING' if found else 'nothing found'}, {facts.get('number_of_executed_units')} inputs, "
              f"{seconds:.0f} s of processor time, at most {facts.get('peak_rss_mb')} MB", flush=True)
        if found:
            print(said[-3000:], flush=True)
            status = 1
    return status


if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    chosen = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    sys.exit(main(chosen, options, Path(os.environ.get("MINICNN_FUZZ_FOLDER", ROOT / "build" / "fuzz"))))
