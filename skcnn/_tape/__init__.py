"""The tape, and the arithmetic that several layers record on it."""
