"""The modules the sandbox has, in the order they are generated: what a record refers to comes first."""

from __future__ import annotations

from typing import Any

from sandbox.contacts import Contacts
from sandbox.entity import Entity
from sandbox.invoices import Invoices
from sandbox.items import Items

ENTITIES: tuple[Entity[Any], ...] = (Items(), Contacts(), Invoices())
