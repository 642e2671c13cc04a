"""A captioner in llama.cpp's two files: the language model with its tokenizer, and what embeds images."""
