"""How the bundled model was trained: corpus, model, optimiser, run, evaluation."""
