"""The settings of the site: Sphinx, with nothing on any page that another machine has to give."""

import kdlandscape

project = "kdlandscape"
author = "The kdlandscape developers"
copyright = author
release = version = kdlandscape.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "tests.site.mathml",
    "tests.site.references",
]
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings = ["ref.python"]  # two classes have an attribute of one name; what leads nowhere is ref.obj

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the builder has executed every page
nb_ipywidgets_js = {}  # they would come from another machine
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"kdlandscape {release}"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_extra_path = ["_live"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
