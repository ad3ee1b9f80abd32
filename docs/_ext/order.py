"""The order of the gallery: first what a newcomer wants to see, then by name."""

FIRST = (
    "quickstart.py",
    "photos.py",
    "demo.py",
    "lines.py",
    "regression.py",
    "pipeline_and_grid_search.py",
    "own_architecture.py",
)


class ByDifficulty:
    """A sort key of file names."""

    def __init__(self, folder):
        pass

    def __call__(self, name):
        return (FIRST.index(name), name) if name in FIRST else (len(FIRST), name)

    def __repr__(self):
        return f"{type(self).__name__}{FIRST}"
