"""Section 5: a generalist, and specialists on the classes that it confuses."""
