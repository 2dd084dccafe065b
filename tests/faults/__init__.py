"""Attacks on a running service, and the audit that nothing was lost and nothing counted twice. `make faults SEEDS=n`.

schedule.py     which fault strikes when: a pure function of the seed
families/       the faults, one file a family; registry.py names them
stack.py        what they strike: own servers, a whole service under a supervisor, an image storage
attack.py       strikes as planned, and sees that what was struck comes back
load.py         submits jobs by Redis and HTTP, which orders.py chooses; ledger.py remembers what was accepted
operator_at_work.py  requeues and discards dead letters meanwhile
watch.py        samples Postgres and Redis while it runs; probes.py measures recovery
quiet.py        waits until nothing is under way any more
evidence.py     what stands in topics and tables afterwards, with the rest in case.py; audit.py judges it by the
                invariants of checks/; oracle.py is the second opinion
run.py          one seed from start to verdict; results.py keeps the figures
without.py      runs a role with one protection off; controls.py expects the audit to notice
"""
