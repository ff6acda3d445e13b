"""Published numbers that results are compared with or computed from, as table files."""
