"""What the field added to distillation since: methods on equal terms, and what decides whether it works."""
