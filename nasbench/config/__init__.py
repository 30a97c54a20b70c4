"""Strict parameters: an unknown key, a wrong type or a value out of range is an error with its path."""
