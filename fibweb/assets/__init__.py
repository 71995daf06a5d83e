"""Files of the web pages as browsers get them: one script, one style sheet, hashed names."""
