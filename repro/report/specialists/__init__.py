"""Report of sections 5, 6.1 and 8: gains and costs (``analysis``), findings, tables, figures and notes."""
