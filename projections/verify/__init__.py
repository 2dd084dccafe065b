"""Folds the log again and compares what stands elsewhere with it, pet by pet. Reads only. Run by `app.verify`.

What is compared, and why nothing that only moves is told as a difference, stands in `partition`.

partition.py   one partition: read, fold, compare, look again; a process each
outcome.py     what a partition's verification is given, and what it gives
frontier.py    up to where of the log the table and Postgres must hold everything
changelog.py   the pet table as a new worker would recover it, copied into a folder
folding.py     the fold of the log, and the moment at which a pet's copy can be compared with it
table.py       a pet's rows in the table against the fold's
pets.py        a pet's rows in Postgres and its cached answer, by the three below
rows.py        a pet's rows in Postgres against the rows that its versions come to. Pure
answers.py     the answer at a version, made of those rows. Pure
reading.py     what Postgres holds of one pet, in one snapshot
findings.py    what differs, where, and from which version on
"""
