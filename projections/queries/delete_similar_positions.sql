-- Forget how far the similarity index has read; who is about to move a position finds it gone.
DELETE FROM projection_positions WHERE projection = 'similar'
