"""The libraries that rlx is timed against, each in an environment of its own under `.peers/`.

A module here is run by that environment's Python and imports neither rlx nor its dependencies.
"""
