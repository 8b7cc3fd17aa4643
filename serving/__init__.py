"""The service: answers CTR requests over HTTP from the lake, without Java and without Spark.

The path of a request, package by package:

1. ``request``: ``parameters`` turns the query or the body into one ``CtrRequest``, or lists every fault.
2. ``state``: ``store`` lends the newest publication (``publications``): all tables at the versions it names, and a cursor.
3. ``query``: ``plan`` splits the range into pieces, each read from the coarsest table that is exact for it; ``cells`` has the
   SQL of each, ``queries`` makes one statement of them, which yields the rows in order, as text where the format is text. Few
   cells of the local copy (``replica``) take a shorter way, ``small``.
4. ``reply``: ``answers`` walks this path, ``catalog`` answers all else. ``encode`` sends small answers in one piece, large ones as
   a stream of constant memory, which ``parts`` reads some buckets at a time; ``transfer`` compresses; ``problems`` tells errors.

``routes`` has every address, ``main`` puts everything around it: ``access`` (keys, JWT, rates), ``load`` (queues and time limits by
the cost of a request, slow clients, and a process of its own for heavy requests, which walks steps 2 to 4 by itself and gives way
to everybody), ``observe`` (metrics, log), ``openapi`` (what the service says of itself), ``explorer`` (the page in ``web``).
"""

VERSION = "0.1.0"
"""The version of the project, as in ``pyproject.toml``; a test keeps them equal."""
