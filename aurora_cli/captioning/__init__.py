"""A model that is ready to caption, and what merging leaves of an image.

options       what decides a caption beside the weights
inputs        from what a caller names or holds - files, folders of frames, images in memory - to frames
captioner     images and videos in, captions out
generation    from prompts and frames to the ids of captions
loading       from a folder with weights to a captioner: `aurora_cli.load_captioner`
result        a caption, and what it took
text_stream   a caption's text while its tokens come
regions       which patches of an image become one visual token
"""
