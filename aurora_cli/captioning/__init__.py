"""A model that is ready to caption, and what merging leaves of an image.

options         what decides a caption beside the weights
inputs          from what a caller names or holds - files, folders of frames, images in memory - to frames
captioner       images and videos in, captions out
caption_stream  media that were read in, captions out, in their order
generation      beam search, by transformers
decoding        rows that are decoded together: each joins when it comes and leaves when it ends
prompts         prompts with their visual tokens, as the language model reads them
rows            rows that take their steps together: their keys and values, and how the language model reads them
sampling        the next token of each row
loading         from a folder with weights to a captioner: `aurora_cli.load_captioner`
result          a caption, and what it took
job             many media, from files to a file
memory          the most memory that was held
text_stream     a caption's text while its tokens come
regions         which patches of an image become one visual token
"""
