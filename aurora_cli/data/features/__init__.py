"""What a frozen vision tower gave, kept by medium.

It is read instead of pixels when a medium is met again.
"""
