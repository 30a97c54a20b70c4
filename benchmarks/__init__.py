"""Speed and memory, each against a plain implementation in the same run: ``python -m benchmarks.<name>``."""
