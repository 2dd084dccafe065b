"""A projection built anew beside the live one, from the log alone, and put in its place. Run by `app.rebuild`.

schema.py     the shadow's tables: made like the live ones, moved, dropped
runs.py       what a rebuild has done so far, in Postgres: its marks, for going on after a kill and for looking on
bulk.py       one partition's whole history, folded and copied; a process each
catch_up.py   what the log has got meanwhile, by the statements of the live projector
compare.py    what differs between the live rows and the shadow's
one_pet.py    the same for a single pet, in one transaction
swap.py       the shadow takes the live one's place, in one transaction; and back
"""
