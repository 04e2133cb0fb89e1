"""Replicas of servers that we did not write, pulled while somebody changes them.

packages       the servers, installed once beside our own environment
running        a server as a child process that ends with its parent
kinto, json_server, datasette, drf_app   one server each: start, change, look
inside/        what runs in the servers' own environment
descriptions/  the sources as a user would describe them
people         seeded rows, and the writer that goes on changing them
replica        the product's own way: Puller, land, sweep, on a real account
drift          the experiment, and what it found

Belongs here: other people's servers and what our account makes of them. Does not belong here:
servers of ours that imitate one (``legacy/``), which can do worse but prove less.
"""
