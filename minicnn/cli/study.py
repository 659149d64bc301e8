"""minicnn study MODEL"""

HELP = "look at a network from all sides and write a page about it"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("model", help="a name that `minicnn models` lists")
    parser.add_argument("--data", default="digits", metavar="DATA", help="digits, or the folder of a data set (digits)")
    parser.add_argument("--epochs", type=int, metavar="N", help="how long to train (default: 5 on digits, else the recipe's)")
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes (study-MODEL)")
    parser.add_argument("--quick", action="store_true", help="two batches and short timings: only to see that all works")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, the progress on stderr")


def run(args):
    """Study the network, write the page and say where it is; 1 if a gradient or a kernel is wrong."""
    from pathlib import Path

    from minicnn import data, models
    from minicnn.cli.output import print_json, say
    from minicnn.study.report import write_report
    from minicnn.study.run import study_model
    info = models.info(args.model)
    classes = data.open_dataset(args.data, "train").classes
    folder = Path(args.out or f"study-{args.model}")
    folder.mkdir(parents=True, exist_ok=True)       # that it cannot be made is told before minutes of work
    model = models.create(args.model, num_classes=len(classes))
    epochs = args.epochs or (5 if args.data == "digits" else None)
    listener = _Console(stderr=args.json)
    study = study_model(model, info.input_shape, args.data, args.model, epochs, quick=args.quick, reporter=listener.training(),
                        listener=listener)
    path = write_report(study, folder)
    if args.json:
        print_json({**study.as_dict(), "page": str(path)})
    say(stderr=args.json)
    say(f"The page: {path.resolve()}", stderr=args.json)
    say("Open it in a browser. Next: minicnn train to train longer, minicnn compare to see other networks beside it.",
        stderr=args.json)
    return 0 if study.right else 1


class _Console:
    """Tells how a study goes on: a heading and a bar for each part, and what came out of it."""

    HEADINGS = {"summary": "What it is made of", "gradients": "Gradient check, layer by layer",
                "timing": "Time of each layer", "training": "Training", "kernels": "Kernels"}

    def __init__(self, stderr):
        self.stderr, self.bar = stderr, None

    def training(self):
        """A reporter for the trainer."""
        from minicnn.cli.output import console
        from minicnn.training.progress import Lines, Live
        out = console(self.stderr)
        return Live(out) if out.is_terminal else Lines(out.file)

    def begin(self, part):
        from minicnn.cli.output import say
        say(f"\n{self.HEADINGS[part]}", self.stderr)

    def step(self, part, done, of, note):
        from minicnn.cli.output import progress
        if self.bar is None:
            self.bar = progress(self.HEADINGS[part], of)
            self.advance, self.done = self.bar.__enter__(), 0
        self.advance(done - self.done, note)
        self.done = done
        if done == of:
            self._close()

    def _close(self):
        if self.bar is not None:
            bar, self.bar = self.bar, None
            bar.__exit__(None, None, None)

    def end(self, part, study):
        from minicnn.cli.output import say
        self._close()
        for line in getattr(self, f"_{part}", lambda study: ())(study):
            say(line, self.stderr)

    def _summary(self, study):
        return str(study.summary).splitlines()

    def _gradients(self, study):
        from minicnn.study.figures import error
        for check in study.checks:
            alike = f" and {check.alike - 1} alike" if check.alike > 1 else ""
            verdict = "right" if check.passed else "WRONG"
            yield (f"  {verdict}  {check.operation:<16} {check.path or '(network)'}{alike}, largest difference "
                   f"{error(check.error)}")
            if not check.passed:
                yield check.message

    def _timing(self, study):
        from minicnn.study.figures import duration
        kinds = {}
        for layer in study.times:
            forward, backward = kinds.get(layer.operation, (0.0, 0.0))
            kinds[layer.operation] = forward + layer.forward, backward + layer.backward
        for kind, (forward, backward) in sorted(kinds.items(), key=lambda item: -sum(item[1])):
            yield f"  {kind:<18} forward {duration(forward):>8}   backward {duration(backward):>8}"
        total = sum(map(sum, kinds.values()))
        yield f"  {study.batch} images in {duration(total)}: {study.batch / total:.0f} images/s"

    def _kernels(self, study):
        from minicnn.study.figures import duration
        for result in study.kernels:
            yield f"  {result.title}, {result.detail}"
            for row in result.rows:
                gain = f"   x {row.gain:.1f}" if row.gain else ""
                what = "differs from reference, not timed"
                if row.agrees:
                    what = f"{duration(row.warm):>8} {row.rate:8.3g} {result.unit}{gain}"
                yield f"    {row.rung:<14} {row.direction:<9} {what}"
