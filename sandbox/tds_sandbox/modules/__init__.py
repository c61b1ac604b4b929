"""Zoho Books' modules, one file each, and what some of them share."""
