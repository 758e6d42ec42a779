"""Someone else's answers: llama.cpp and transformers, run on the files our engine runs."""
