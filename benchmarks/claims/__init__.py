"""Central claims of papers, each shown or not on a small problem: `python -m benchmarks.claims`."""
