"""Pages made from sections: REPRODUCE.md, a README for each data set, and results/index.html.

Templates are Jinja2 files in ``templates``, prose is Markdown in ``notes``. Nothing here computes a result.
"""
