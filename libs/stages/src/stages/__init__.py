"""What every stage of a document's way does the same."""
