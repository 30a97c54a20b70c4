"""Statistics, tables, figures and the report; needs no torch."""
