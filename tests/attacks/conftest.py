"""A receiver on a database, as its own tests have it."""

from tests.receiver.conftest import receiver

__all__ = ["receiver"]
