"""Analysis, tables, figures and notes of section 3 of the paper: MNIST."""
