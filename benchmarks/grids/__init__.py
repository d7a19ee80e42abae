"""Coverage and error grids of the statistics: one module a method family, each a list of bars."""
