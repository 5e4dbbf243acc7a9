"""rlx's preference-based learning beside imitation's preference comparisons."""
