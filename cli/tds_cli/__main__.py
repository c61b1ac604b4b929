"""`python -m tds_cli`: the `tds` command."""

from tds_cli.main import main

main()
