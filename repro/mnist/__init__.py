"""Section 3: a large regularised net taught to a small one on MNIST."""
