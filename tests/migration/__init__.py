"""From a legacy file to a store directory and back."""
