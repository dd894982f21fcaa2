"""larix trains, streams and serves ranking models whose memory is billions of ids.

The rooms are modules: ``from larix import data, embedding, features, model, train``.
Nothing is imported here, so that a parameter server never loads torch.
"""

__version__ = "0.1.0"
