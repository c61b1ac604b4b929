"""The Zoho client, the pulls and the `tds` command line."""
