"""What is timed, and what came out: results/ has each run as JSON with the machine in it."""

import os

ENVIRONMENT = dict(os.environ)      # as it was before an engine was imported: some set how threads wait
