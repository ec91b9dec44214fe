"""What a trained model writes with a glossary, and how well it knows what it got wrong."""
