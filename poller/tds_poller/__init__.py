"""Feeds the database from Zoho's API: job, GET, bytes, one SQL call."""
