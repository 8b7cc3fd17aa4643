"""The jobs: from event folders and a purchase database to Delta tables that the service reads.

The path of the data, module by module:

    discover -> ledger -> plan -> tasks      which files are new and no copies, and who reads what
    decoding -> events                       bytes to rows of ``views`` and ``quarantine``, with an account of every record
    database -> purchases -> compare         order items of the platforms, compared with what the lake holds
    rollup                                   ``ctr_minute``, ``ctr_hour``, ``ctr_day`` of the touched (date, platform)
    quarantine -> replay                     what could not be used, tried again after a fix
    publish                                  one row that names one version of every table: only now readers see it

``run`` walks this path once a batch, ``rebuild`` its end from ``rollup`` on; ``cli`` starts them, ``report`` says what happened.
``schemas`` declares the tables, ``datafiles`` writes their Parquet files in Spark's workers, ``lake`` commits them. ``sample`` and
``load_csv`` make data to try it.
"""
