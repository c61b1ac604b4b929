"""The documents that are made: docs/reference.md from the catalogue, the screens of docs/commands.md from runs."""
