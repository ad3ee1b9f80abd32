"""The tape, and computations that several layers record on it."""
