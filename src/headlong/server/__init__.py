"""The HTTP server: OpenAI's and llama-server's dialects over one engine, and a chat page.

Importing this package loads no web framework: the command line reads the settings from here.
"""
