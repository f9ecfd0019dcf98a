"""A study as one HTML file that answers its question: safe to mail, without a kernel and without a network."""
