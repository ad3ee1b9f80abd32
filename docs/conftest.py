"""What the build of the site needs or writes has no tests of its own."""

collect_ignore = ["conf.py", "_ext", "_build", "gallery", "reference", "project"]
