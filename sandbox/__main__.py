"""``python -m sandbox``."""

from sandbox.cli import sandbox

if __name__ == "__main__":
    sandbox()
