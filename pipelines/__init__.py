"""DVC stages: each parses its parameters, calls the library, saves and logs. ``python -m pipelines.<stage>``."""
