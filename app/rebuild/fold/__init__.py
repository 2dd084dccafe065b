"""The fold's own tables built anew from the log, as another generation, and their hand-over. Run by `app.rebuild.run`.

place.py       groups, topics and folders of two generations
job.py         what a process needs to know of one partition
overlay.py     rows over rows: what a batch changes, before it is durable
build.py       one partition of the log into rows and changelog records, to where the live fold stands; a process each
live_tables.py the live fold's rows, from its changelog
compare.py     what differs between the two, pet by pet
hand_over.py   the live generation ends, the new one begins
steps.py       what is done on all partitions, and said of it
rebuild.py     the order of things
"""
