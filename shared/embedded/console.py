"""What the supervisor tells the person at the terminal, on stderr: stdout is for results."""

import sys


def say(text: str) -> None:
    sys.stderr.write(f"atelier: {text}\n")
    sys.stderr.flush()
