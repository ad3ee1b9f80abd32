"""Sphinx: ``make docs`` builds the site without a network, into ``docs/_build/html``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from order import GroupOrder  # noqa: E402

import skcnn  # noqa: E402

project = "skcnn"
author = "The skcnn developers"
copyright = f"{author}. BSD-3-Clause. Version {skcnn.__version__}"
version = release = skcnn.__version__
site_description = (
    "Convolutional neural networks as scikit-learn estimators, in plain NumPy: classify images and predict numbers "
    "from them, on a CPU, inside pipelines and searches."
)
REPOSITORY = ""  # address of the repository, to which every page then links; empty while there is no public one

extensions = [
    "heads",
    "pages",
    "reference",
    "names",
    "notebooks",
    "mathml",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "gallery/**/*.ipynb", "gallery/**/*.py"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

smartquotes = False  # "same" is a string
nitpicky = True
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", ".*")]  # of the words in single backticks, only the public names are links

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

autosummary_generate = False  # docs/_ext/reference.py writes the pages
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

sphinx_gallery_conf = {
    "examples_dirs": "_build/examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": GroupOrder(),
    "within_subsection_order": "order.ByDifficulty",
    "nested_sections": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skcnn",),
    "capture_repr": ("_repr_html_",),  # what an example prints, and no objects of matplotlib
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "abort_on_example_error": True,
    "min_reported_time": 5,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"skcnn {version}"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["skcnn.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "start": []}
html_theme_options = {
    "logo": {"text": "skcnn", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "header_links_before_dropdown": 8,
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "navigation_with_keys": False,
}
if REPOSITORY:
    html_theme_options["icon_links"] = [{"name": "Repository", "url": REPOSITORY, "icon": "fa-brands fa-git-alt"}]
