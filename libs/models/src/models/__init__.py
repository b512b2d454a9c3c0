"""Which model embeds and which one answers."""
