"""What the albums would be under another policy: pets replayed twice from the log, and compared. Nothing is published.

policy.py       fields of a policy, read from the command line and put over the recorded policies. Pure
comparison.py   two groupings of one pet's photos, and the sums of many. Pure
replay.py       the two folds of one partition
work.py         one partition in a process of its own
run.py          from the command line to the report
report.py       what is told: a table, or lines of JSON
page.py         the HTML report; pictures.py gets what it shows
"""
