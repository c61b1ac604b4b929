"""A stand-in Zoho Books organisation: OAuth, paged API, limits, faults, and signed webhooks.

Start one in a test with ``tds_sandbox.serve.running(Organisation(items=100))``, or from a shell with
``python -m sandbox --items 2218 --contacts 2467 --invoices 1000``.
"""
