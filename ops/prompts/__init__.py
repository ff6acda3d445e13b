"""How problems, responses and verification questions are put into words for a model."""
