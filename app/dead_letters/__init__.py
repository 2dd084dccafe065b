"""Acting on dead letters: the same for the API and for the command line."""
