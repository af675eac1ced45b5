"""The book: Sphinx reads the chapters as they were committed, outputs and pictures included."""

import latex2mathml.converter

project = 'adsbench'
author = 'The adsbench authors'
copyright = author
extensions = ['myst_nb']
root_doc = 'index'
exclude_patterns = ['**/.ipynb_checkpoints', 'conf.py']
nb_execution_mode = 'off'
nb_ipywidgets_js: dict = {}
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 2
suppress_warnings = ['myst.header', 'misc.highlighting_failure']
html_theme = 'furo'
html_title = 'adsbench'
html_show_sphinx = False
html_math_renderer = 'mathml'
# the page needs nothing from elsewhere: no fonts, scripts or mathematics from a network
html_theme_options = {'source_edit_link': '', 'footer_icons': []}


def math(translator, node) -> None:
    "LaTeX becomes MathML, which browsers draw themselves"
    import docutils.nodes

    display = 'block' if isinstance(node, docutils.nodes.math_block) else 'inline'
    translator.body.append(latex2mathml.converter.convert(node.astext(), display=display))
    raise docutils.nodes.SkipNode


def setup(app) -> None:
    "Register the renderer"
    app.add_html_math_renderer('mathml', (math, None), (math, None))
