-- Have the similarity index look at every pet.
DELETE FROM projection_generations WHERE projection = 'similar'
