"""A migration against the sandbox, told step by step and compared with the truth."""
