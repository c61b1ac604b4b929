"""`make demo`."""

from tds_demo.demo import main

main()
