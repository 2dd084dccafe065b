"""The fold and its state: pure logic, and the rows it is kept in. No I/O, no clock, no setting."""
