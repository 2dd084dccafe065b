"""Attacks on a running service, and the audit that nothing was lost and nothing counted twice. `make faults SEEDS=n`.

schedule.py     which fault strikes when: a pure function of the seed
families/       the faults, one file a family; registry.py names them
stack.py        what they strike: own servers, a whole service under a supervisor, an image storage
load.py         jobs by Redis and HTTP; ledger.py remembers what was accepted
watch.py        samples Postgres and Redis while it runs; probes.py measures recovery
evidence.py     what stands in topics and tables afterwards; audit.py judges it; oracle.py is the second opinion
run.py          one seed from start to verdict; results.py keeps the figures
without.py      runs a role with one protection off; controls.py expects the audit to notice
"""
