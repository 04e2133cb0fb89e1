"""The steps of a run, each once: what ``pipeline`` and ``sweeping`` put in order.

Belongs here: one step of a row's way from a pulled page to its disposition. Does not belong here:
their order, or what people do beside a run (``operations``).
"""
