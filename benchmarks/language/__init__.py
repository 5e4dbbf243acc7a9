"""How fast small language models are sampled and trained on preferences, against plain PyTorch."""
