"""Kill a training run at random moments, resume it each time, and compare its end, bit for bit, with a run left alone.

    python -m benchmarks.kill_and_resume --kills 50 --out benchmarks/results/kill_and_resume.json

The run has everything random in it: shuffling, augmentation, prefetching threads, dropout, drop-path; and a moving average
of the weights, accumulated gradients, batch norm. It saves a checkpoint after every update. SIGKILL comes a random number of
batches after the start and a random time later, so that it also hits checkpoints half written. Resumed processes use 1 and
2 threads in turn, and 1 to 3 that prepare batches.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kernels.threads
import minicnn
from minicnn import data, io, nn, ops, optim
from minicnn.cli.output import progress
from minicnn.errors import CheckpointError
from minicnn.study import machine
from minicnn.training import Trainer, load_checkpoint, saved_checkpoints
from minicnn.training.progress import Silent

ROOT = Path(minicnn.__file__).parents[1]
EPOCHS, BATCHES, MOST_BATCHES = 12, 36, 6       # MOST_BATCHES: how many a process may do before it is killed


class Net(nn.Module):
    """Two convolutions with batch norm, the second a residual branch under drop-path; dropout; linear."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.path, self.dropout, self.fc = nn.DropPath(0.3), nn.Dropout(0.4), nn.Linear(16 * 16, 10)

    def forward(self, x):
        x = ops.relu(self.bn1(self.conv1(x)))
        x = x + self.path(self.bn2(self.conv2(x)))
        return self.fc(self.dropout(ops.flatten(ops.max_pool2d(ops.relu(x), 2))))


class Said(Silent):
    """Prints each batch, for the process that waits to kill this one."""

    def batch(self, trainer):
        print(trainer.epoch, trainer.batch, flush=True)


def train(folder, threads, workers):
    """Train in `folder`, going on from the last checkpoint there."""
    kernels.threads.set_num_threads(min(threads, kernels.threads.most()))
    minicnn.seed(11)
    sets = [data.load_digits(split) for split in ("train", "test")]
    transforms = [data.default_transforms(held, (1, 8, 8), train=held is sets[0]) for held in sets]
    loaders = [data.Loader(held, 40, transform, shuffle=held is sets[0], seed=2, workers=workers)
               for held, transform in zip(sets, transforms)]
    model = Net()
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9, 1e-4, nesterov=True)
    schedule = optim.Cosine(optimizer, EPOCHS * BATCHES // 2)
    trainer = Trainer(model, *loaders, optimizer, schedule, warmup=optim.WarmUp(optimizer, 10), folder=folder, reporter=Said(),
                      checkpoint_every=1, epochs=EPOCHS, schedule_unit="iteration", accumulate=2, clip_norm=5.0,
                      label_smoothing=0.1, ema_decay=0.99, recompute_batch_norm=True, limit_batches=BATCHES)
    if found := saved_checkpoints(folder / "checkpoints"):
        trainer.restore(*load_checkpoint(found[-1]))
    trainer.run()


def start(folder, threads=1, workers=1):
    """The process that trains in `folder`."""
    command = [sys.executable, "-m", "benchmarks.kill_and_resume", "--train", str(folder), "--threads", str(threads),
               "--workers", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def kill_one(folder, rng, number, batch_seconds):
    """Start a process, kill it at a random moment -> whether a half-written checkpoint was left; None if it ended before."""
    process = start(folder, 1 + number % 2, 1 + number % 3)
    for _ in range(rng.randrange(MOST_BATCHES + 1)):
        if not process.stdout.readline():
            return None
    time.sleep(rng.random() * 2 * batch_seconds)      # every second batch ends with a checkpoint
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    for path in saved_checkpoints(folder / "checkpoints"):
        load_checkpoint(path)           # raises CheckpointError for one that is not whole
    return any((folder / "checkpoints").glob(".*.tmp"))


def compare(one, other):
    """Raise CheckpointError unless two folders end with the same bits; returns how many arrays and bytes were compared."""
    arrays = bytes_compared = 0
    for name in ("weights.safetensors", f"checkpoints/epoch-{EPOCHS:04d}.safetensors"):
        first, second = (io.load_safetensors(folder / name)[0] for folder in (one, other))
        different = [key for key in first if first[key].tobytes() != second[key].tobytes()]
        if first.keys() != second.keys() or different:
            raise CheckpointError(f"{name}: {different or 'the names'} differ; resuming is not exact")
        arrays, bytes_compared = arrays + len(first), bytes_compared + sum(array.nbytes for array in first.values())
    return arrays, bytes_compared


def measure(kills, seed):
    """Kill and resume `kills` times; returns what there is to tell."""
    rng, half_written = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as place, progress("kills", kills) as advance:
        whole, killed = Path(place, "whole"), Path(place, "killed")
        process, begin = start(whole), time.perf_counter()
        lines = sum(1 for _ in process.stdout)
        if process.wait():
            raise SystemExit("the undisturbed run failed")
        batch_seconds = (time.perf_counter() - begin) / lines
        for number in range(kills):
            orphan = kill_one(killed, rng, number, batch_seconds)
            if orphan is None:
                raise SystemExit(f"the run ended after {number} kills; raise EPOCHS")
            half_written += orphan
            advance(1, f"{half_written} in the middle of a write")
        process = start(killed)
        process.communicate()
        arrays, compared = compare(whole, killed)
        orphans = [path.name for folder in (killed, killed / "checkpoints") for path in folder.glob(".*.tmp")]
    return {"kills": kills, "resumes": kills, "half_written_checkpoints": half_written, "batches": lines, "seed": seed,
            "arrays_bit_equal": arrays, "bytes_bit_equal": compared, "orphans_left": orphans}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="of the moments (the clock)")
    parser.add_argument("--out", type=Path)
    for name, kind in (("--train", Path), ("--threads", int), ("--workers", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train, args.threads, args.workers)
        return
    result = measure(args.kills, args.seed)
    print(f"{args.kills} kills, {result['half_written_checkpoints']} in the middle of a checkpoint, and as many resumes: "
          f"{result['arrays_bit_equal']} arrays ({result['bytes_bit_equal']:,} bytes) bit-equal to the undisturbed run")
    if args.out:
        facts = {key: machine.facts()[key] for key in ("versions", "cpu")}
        args.out.write_text(json.dumps({**result, "machine": facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
