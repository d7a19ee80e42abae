"""The pages in the browser: people mark, disagreements are settled, notes are sorted, and an owner sees how far it is."""
