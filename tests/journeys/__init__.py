"""Whole ways through the real programs, killed and restarted."""
