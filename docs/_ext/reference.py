"""The reference: a page for every public module, and one for every public name in it, written before each build.

What is public follows from the modules themselves, so that a new name cannot be forgotten.
"""

import importlib
import importlib.util
import inspect
from pathlib import Path

from skcnn.description import Description

MODULES = (
    "skcnn",
    "skcnn.layers",
    "skcnn.architecture",
    "skcnn.losses",
    "skcnn.optimizers",
    "skcnn.schedules",
    "skcnn.initializers",
    "skcnn.augmentation",
    "skcnn.callbacks",
    "skcnn.images",
    "skcnn.features",
    "skcnn.saliency",
    "skcnn.display",
    "skcnn.onnx",
    "skcnn.runtime",
    "skcnn.weights",
    "skcnn.testing",
)


def public_modules():
    """The modules of the list that there are."""
    return [importlib.import_module(name) for name in MODULES if importlib.util.find_spec(name)]


def public_names(module):
    """Public name -> object: what ``__all__`` lists, or the classes and functions that a module defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            name
            for name, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
        ]
    return {name: getattr(module, name) for name in sorted(listed, key=str.lower) if not name.startswith("_")}


def reference():
    """Module -> its public names. What several modules have is on the page of the first of them."""
    seen, pages = [], {}
    for module in public_modules():
        names = public_names(module)
        pages[module] = {name: value for name, value in names.items() if not any(value is other for other in seen)}
        seen += names.values()
    return pages


def is_described(value):
    """Whether this is a layer, a loss or the like that is used by its parameters alone."""
    return inspect.isclass(value) and issubclass(value, Description) and "__dataclass_fields__" in vars(value)


def section(value):
    """The heading under which a module's page lists an object."""
    if not inspect.isclass(value):
        return "Functions" if callable(value) else "Constants"
    bases = {base.__name__ for base in value.__mro__[1:]}
    if "Activation" in bases:
        return "Activations"
    if issubclass(value, Description) and not is_described(value):
        return "Base classes"
    return "Classes"


def methods(cls):
    """Public methods and properties: those that the package documents, and those that scikit-learn does.

    Properties that the class describes as its attributes are left out.
    """
    own, inherited = [], []
    for name in dir(cls):
        value = getattr(cls, name)
        if name.startswith("_") or inspect.isclass(value) or not (callable(value) or isinstance(value, property)):
            continue
        if isinstance(value, property) and name in (inspect.getdoc(cls) or ""):
            continue
        function = value.fget if isinstance(value, property) else value
        is_own = (getattr(function, "__module__", None) or "").startswith("skcnn")
        (own if is_own else inherited).append(name)
    return [name for name in own if inspect.getdoc(getattr(cls, name))], inherited


def signature(value):
    """The arguments of a description and their defaults, without types; "" for a base class; None for other objects.

    Sphinx would show the arguments of ``Description.__new__``, which takes any.
    """
    if not (inspect.isclass(value) and issubclass(value, Description)):
        return None
    if not is_described(value):
        return ""
    found = inspect.signature(value)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def title(text, line="="):
    """A heading."""
    return [text, line * len(text), ""]


def object_page(module, name, value):
    """What sphinx reads about one name."""
    full = f"{module.__name__}.{name}"
    lines = [*title(full if module.__name__ == "skcnn" else name), f".. currentmodule:: {module.__name__}", ""]
    if not inspect.isclass(value):
        lines += [f".. {'autofunction' if callable(value) else 'autodata'}:: {name}"]
        lines += ([] if callable(value) else ["   :no-value:"]) + [""]  # the values of constants hold private names
    else:
        lines += [f".. autoclass:: {name}"]
        own, inherited = ([], []) if is_described(value) else methods(value)
        if own and not issubclass(value, BaseException):
            lines += [f"   :members: {', '.join(own)}"]
            if inherited:
                lines += ["", "   From scikit-learn: " + ", ".join(f"``{method}``" for method in inherited) + "."]
        lines += [""]
    return "\n".join([*lines, f".. minigallery:: {full}", f"   :add-heading: Examples with {name}", ""])


def module_page(module, names):
    """The list of a module's names, under headings."""
    lines = [*title(module.__name__), f".. automodule:: {module.__name__}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {module.__name__}", ""]
    sections = {}
    for name, value in names.items():
        sections.setdefault(section(value), []).append(name)
    for heading, members in sorted(sections.items(), key=lambda item: ORDER.index(item[0])):
        if len(sections) > 1:
            lines += title(heading, "-")
        lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {member}" for member in members), ""]
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [f"   {name} <{module.__name__}.{name}>" for name in names]
    return "\n".join([*lines, ""])


ORDER = ["Classes", "Activations", "Functions", "Constants", "Base classes"]


def index_page(modules):
    """The page in front."""
    lines = [
        *title("Reference"),
        "Every public name has a page: parameters, the equation with its source, and code that",
    ]
    lines += ["runs. Names that are not here may change without notice.", ""]
    lines += [".. list-table::", "   :widths: 30 70", ""]
    for module in modules:
        first = inspect.getdoc(module).splitlines()[0]
        lines += [f"   * - :doc:`{module.__name__}`", f"     - {first}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {module.__name__}" for module in modules), ""]
    return "\n".join(lines)


def pages():
    """Name of a page -> its text."""
    modules = reference()
    written = {"index": index_page(modules)}
    for module, names in modules.items():
        written[module.__name__] = module_page(module, names)
        for name, value in names.items():
            written[f"{module.__name__}.{name}"] = object_page(module, name, value)
    return written


def write(folder):
    """Write the pages that changed, and remove those that are no more."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    written = {folder / f"{name}.rst": text for name, text in pages().items()}
    for path in set(folder.glob("*.rst")) - set(written):
        path.unlink()
    for path, text in written.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def on_signature(app, what, name, value, options, arguments, result):
    """Replace the arguments of a description."""
    found = signature(value)
    return None if found is None else (found, None)


def setup(app):
    """Write the pages before sphinx looks for them."""
    app.setup_extension("sphinx.ext.autodoc")  # it defines the event
    app.connect("autodoc-process-signature", on_signature)
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
