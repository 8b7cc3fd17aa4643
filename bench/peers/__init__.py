"""Other ways from the same event files to the same minute counts, one program each: ``python bench/peers/NAME.py EVENTS OUT``.

``EVENTS`` is the root of the platform folders, ``OUT`` a folder that the program makes. Each writes its counts (platform, product,
time or minute, views) below ``OUT`` as ``minutes*``, and ends by printing one line of JSON: the views counted, the rows
written, the seconds inside the process. They keep no account of what they could not read and commit nothing; ``spark_json``
alone writes Delta tables.
"""
