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

# `CallRecord` in a docstring becomes a link where there is such a name, and stays as it is where there is none.
default_role = "py:obj"
# `status` is the name of several attributes; the first one is as good a target as any.
suppress_warnings = ["ref.python"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
