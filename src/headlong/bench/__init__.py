"""Measures any OpenAI-compatible server over HTTP, and knows nothing of the engine."""
