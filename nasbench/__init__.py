"""proxy-nasbench: is a small proxy of the data enough to search a neural architecture?

Layers, each importing only from those to its right:
``searchers, scorers -> spaces, models, selectors, training, datasets, analysis, tracking -> config -> core``.
"""

__version__ = "0.4.0"
