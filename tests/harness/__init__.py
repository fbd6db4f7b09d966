"""File systems that fail, stop and forget, and what the storage tests share."""
