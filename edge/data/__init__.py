"""What models learn from: the small world of the stories, and corpora of the user's texts."""
