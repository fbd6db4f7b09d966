"""Finding stores."""
