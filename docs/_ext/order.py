"""The groups of the gallery, and the order of the examples in each."""

GROUPS = {
    "first_steps": (
        "First steps",
        "Train a network, look at what it has learned, and use photos of your own.",
        ("quickstart", "photos", "cifar10", "demo", "lines"),
    ),
    "tasks": (
        "Tasks",
        "Numbers as targets, rare classes, and classes with few labels.",
        ("regression", "imbalanced", "deep_features", "pretrained"),
    ),
    "networks": (
        "Networks",
        "Layers of your choice, and the inside of a trained network.",
        ("own_architecture", "looking_inside"),
    ),
    "searches": (
        "Pipelines, searches and callbacks",
        "Networks as parts of scikit-learn's tools.",
        ("pipeline_and_grid_search", "successive_halving", "watching_a_fit"),
    ),
    "deployment": (
        "Saving and deployment",
        "Files of a model, a server, and other runtimes.",
        ("save_and_load", "serve_a_model", "export_onnx"),
    ),
    "scaling": (
        "Large data and clusters",
        "More images than memory, and more fits than one machine can do.",
        ("larger_than_memory", "search_on_a_cluster"),
    ),
}
REST = ("more", "More examples", "Examples that belong to no other group.")


def group_of(name):
    """The folder of the gallery that an example belongs to."""
    return next((folder for folder, (_, _, names) in GROUPS.items() if name in names), REST[0])


def heading(folder):
    """The first page of a group, in reStructuredText."""
    title, text = GROUPS[folder][:2] if folder in GROUPS else REST[1:]
    return f"{title}\n{'-' * len(title)}\n\n{text}\n"


class GroupOrder:
    """A sort key of the folders of groups."""

    def __init__(self, folder=""):
        pass

    def __call__(self, path):
        folder = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return ([*GROUPS, REST[0]].index(folder) if folder in GROUPS else len(GROUPS), folder)

    def __repr__(self):
        return f"{type(self).__name__}{tuple(GROUPS)}"


class ByDifficulty(GroupOrder):
    """A sort key of file names inside a group: the order of the table above, then by name."""

    def __call__(self, path):
        name = path.removesuffix(".py")
        names = GROUPS.get(group_of(name), ("", "", ()))[2]
        return (names.index(name) if name in names else len(names), name)
