"""All exploration bonuses side by side: steps until a task is solved, and what each adds to the time of a step."""
