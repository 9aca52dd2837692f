"""Arrow schemas of every table, atomic reading and writing of tables, and the loop from a table to a table."""
