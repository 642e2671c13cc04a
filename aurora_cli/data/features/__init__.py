"""What a frozen vision tower gave, kept on disk by medium: read instead of pixels when a medium is met again."""
