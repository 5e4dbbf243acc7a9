"""Speed against other libraries' implementations and against the limit: `python -m benchmarks.speed`."""
