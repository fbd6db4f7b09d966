"""Transcripts beside a store."""
