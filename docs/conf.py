"""Build these pages: ``sphinx-build -W docs build/docs`` (extra ``docs``)."""

from importlib import metadata

project = "truecaller_vbc"
author = copyright = "The truecaller_vbc authors"  # noqa: A001 - Sphinx reads this name
release = metadata.version("truecaller_vbc")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"truecaller_vbc {release}"
exclude_patterns = ["examples"]

myst_heading_anchors = 3

# `CallRecord` in a docstring becomes a link if the reference has that name; any other text stays as it is.
default_role = "py:obj"
# Several classes have an attribute `status`; a link to it leads to the first one.
suppress_warnings = ["ref.python"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
