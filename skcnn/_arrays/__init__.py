"""Functions on arrays. They do not depend on tapes."""
