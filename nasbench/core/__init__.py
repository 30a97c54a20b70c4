"""Values that flow between stages, and plain tools. No framework is imported here."""
