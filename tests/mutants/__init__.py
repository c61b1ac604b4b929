"""Breaks lines of the product one at a time and looks whether the tests near them notice: `make mutants`."""
