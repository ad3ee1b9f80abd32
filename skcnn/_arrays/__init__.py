"""Plain functions: arrays in, arrays out. Nothing here knows of tapes."""
