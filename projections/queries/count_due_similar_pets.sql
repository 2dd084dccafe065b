-- Count the pets that the similarity index has to look at.
SELECT count(*) FROM similar_pets WHERE looked < version
