-- Begin a rebuild under the next generation's number.
INSERT INTO rebuild_runs (generation, state, code) VALUES (nextval('generation_numbers'), 'building', $1) RETURNING generation
