"""What runs beside training to decode videos: which frames are wanted, which decoder is believed, how a player shows
a frame. Imports nothing but numpy and a decoder.
"""
