"""The similarity index: which photos and clusters of other pets are nearest, through pgvector. Off unless SIMILARITY.

models.py      a table of photos and one of clusters for each model; whether Postgres has the extension
facts.py       records of the log → photos' vectors, removals, purges; pure
photos.py      those, as rows; and what versions say: pets to look at, removed images
directions.py  a cluster's direction, the mean of its members, made anew when it has changed enough
graphs.py      the HNSW indexes, built once the log is caught up with
indexer.py     the loop of the role `project` that does all of this, position and rows in one transaction
erasing.py     a purged pet's rows; called by the projector's own purge, too
search.py      what the views ask
"""
