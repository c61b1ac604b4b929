"""Programs that load the same pages the way other tools do; each runs in a process of its own.

Every one takes a file of pages (a body a line) and the number of the load, 1 or 2, reads `BENCH_URL`, and
ends with a line of JSON: the seconds from the first byte read to the last row committed.
"""
