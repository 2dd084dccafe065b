"""From an image id to what is recorded about the image: fetch, decode, measure, embed."""
