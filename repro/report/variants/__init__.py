"""Report of the variants: comparison of the methods with KD, tables, figures and notes."""
