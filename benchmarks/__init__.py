"""What is timed, and what came out: results/ has each run as JSON with the machine in it."""
