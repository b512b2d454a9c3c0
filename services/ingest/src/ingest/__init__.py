"""From bytes to chunks: parsing and splitting."""
