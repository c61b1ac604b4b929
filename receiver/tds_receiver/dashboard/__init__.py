"""The dashboard: what the database says of itself, as pages for people, with an operator's few deeds."""
