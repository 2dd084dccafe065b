-- List the schemas that keep what rebuilds have replaced.
SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'media\_before\_%' ORDER BY 1
