"""What times the peers (see `benchmarks/peers`).

A module here is run by the peer's Python and imports neither rlx nor its dependencies.
"""
