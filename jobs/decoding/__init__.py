"""Decoding of event files: bytes in; columns of views, rejects with a reason, and an exact account out. No Spark, no file system.

The path of the bytes, module by module:

    unpack                 opens what a file is wrapped in: gzip, zstd, UTF-16
    decode                 tells the layout by the first bytes, and drives the rest
    lines, scan, siblings  find the records in JSON lines, in arrays and objects, and behind a damage
    collect                reads clean messages fast, column by column
    message, jsonvalue     the rules in full, for every message in doubt
    records                what comes out: views, rejects and their reasons, the account
"""
