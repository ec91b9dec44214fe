"""What the comparison of translations is made of: systems, their runs, the table, the picture, and the analysis."""
