"""Running sequences: load, schedule, step, and text out of tokens."""
