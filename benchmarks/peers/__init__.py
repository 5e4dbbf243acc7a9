"""The libraries that rlx is compared with, each in an environment of its own under `.peers/`."""
