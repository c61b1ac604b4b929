"""``python -m tds_sandbox``."""

from tds_sandbox.cli import sandbox

if __name__ == "__main__":
    sandbox()
