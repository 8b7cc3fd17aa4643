"""The service: answers CTR requests over HTTP from the lake, without Java and without Spark.

The path of a request:

1. ``parameters`` turns the query or the body into one ``CtrRequest``, or lists every fault.
2. ``store`` lends the newest publication (``publications``): all tables at the versions it names, and a cursor.
3. ``plan`` splits the range into pieces, each read from the coarsest table that is exact for it.
4. ``queries`` makes one SQL statement of the pieces, which yields the rows as JSON text in order.
5. ``encode`` sends the text: small answers in one piece, large ones as a stream of constant memory.
"""

VERSION = "0.1.0"
"""The version of the project, as in ``pyproject.toml``; a test keeps them equal."""
