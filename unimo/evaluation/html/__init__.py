"""The page of `unimo evaluate report`: runs in, one HTML file out."""
