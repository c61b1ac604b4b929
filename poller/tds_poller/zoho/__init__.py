"""Zoho Books: its API, its tokens, its limits."""
