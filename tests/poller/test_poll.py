"""Pulls that are asked for: from the queue to the rows."""

from __future__ import annotations
