"""minicnn doctor"""

HELP = "what this machine and installation are, and what to change about them"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Print the facts and a line of advice for each thing that is off."""
    from minicnn.cli.output import print_json, print_pairs, say
    from minicnn.study import machine
    found = machine.facts()
    found["blas"]["speed"] = machine.matmul_speed()
    if better := machine.better_core(found):
        found["blas"]["better_speed"] = machine.matmul_speed(better[0])
    advice = machine.advice(found)
    if args.json:
        print_json({**found, "advice": advice})
        return 0
    print_pairs(pairs(found))
    say()
    for line in advice:
        say(f"advice: {line}")
    if not advice:
        say("nothing is off")
    say("Next: `minicnn warmup resnet20` compiles ahead what that network needs, `minicnn study resnet20` looks at a network")
    return 0


def pairs(found):
    """The facts as (name, text)."""
    from minicnn.study import machine
    from minicnn.study.figures import memory
    versions, cpu, blas, cache, free = (found[part] for part in ("versions", "cpu", "blas", "cache", "resources"))
    installed = [f"{name} {version}" for name, version in versions.items() if version and name not in ("python", "platform")]
    required = len(machine.PACKAGES)
    unknown, tile = "unknown", found["tile"]
    return [
        ("versions", ", ".join(installed[:required])),
        ("beside them", ", ".join(installed[required:]) or "none of the optional packages"),
        ("Python", f"{versions['python']} on {versions['platform']}"),
        ("CPU", f"{cpu['model']} (LLVM: {cpu['llvm']}), {cpu['usable']} of {cpu['cpus']} usable"),
        ("vectors", ", ".join(cpu["features"]) or "none known"),
        ("micro-kernel", f"tiles of {tile['rows']} x {tile['columns']} float32, {tile['registers']} registers of "
                         f"{tile['vector_bytes']} bytes"),
        ("threads", f"{found['threads']['count']} on layer {found['threads']['layer']}"),
        ("BLAS", f"{blas['name']} {blas['version']}, kernels for {blas['core'] or unknown}, {blas['threads'] or '?'} threads"
                 + (f", {blas['speed']:.0f} GFLOP/s in float32" if blas.get("speed") else "")),
        ("GPU", found["gpu"]["name"] or f"none: {found['gpu']['why_not']}"),
        ("CUDA driver", found["gpu"]["driver"] or "none"),
        ("kernel cache", f"{cache['folder']}: {cache['files']} files, {memory(cache['bytes'])}, {cache['stale_files']} stale"),
        ("free memory", unknown if free["memory_free"] is None else
         f"{memory(free['memory_free'])} of {memory(free['memory_total'])}"),
        ("free disk", f"{memory(free['disk_free'])} in {free['folder']}"),
    ]
