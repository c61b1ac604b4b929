"""Attacks, each with a bound that no busy machine can change: work counted, or compared with that on half as much."""
