-- A generation's number, given once.
SELECT nextval('generation_numbers')
