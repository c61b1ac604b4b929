"""The exit codes of `tds`, once for all commands."""

FAILED = 1
UPGRADE_DUE = 3
INCOMPLETE = 4
INTERRUPTED = 130

EXIT_CODES = f"""\b
Exit codes:
  0  done
  {FAILED}  refused or failed; the message says why
  2  wrong usage
  {UPGRADE_DUE}  an upgrade of the database is due, or it was changed by hand (tds db status)
  {INCOMPLETE}  done, but something is missing: details that Zoho did not give, dead letters (tds status)
  {INTERRUPTED}  interrupted (Ctrl-C, SIGTERM): what was done is kept, and the same command goes on
"""
