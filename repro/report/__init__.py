"""Records in, tables, figures, verdicts and REPRODUCE.md out. Nothing here trains, or reads the clock."""
