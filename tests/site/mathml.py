"""A Sphinx extension: formulas become MathML, which a browser draws by itself, without a script from elsewhere."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def known(formula: str) -> str:
    r"""Return a formula in the commands that the converter knows: it has ``\\ldots`` and no ``\\dots``."""
    return re.sub(r"\\dots(?![A-Za-z])", r"\\ldots", formula)


def inline(translator, node):
    """Write a formula in a line."""
    translator.body.append(tex2mathml(known(node.astext()), as_block=False))
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula in a line of its own."""
    translator.body.append(f'<div class="math">{tex2mathml(known(node.astext()), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Add the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
